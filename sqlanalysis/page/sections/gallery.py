"""Section on the images of a run without predictions: examples of each cluster, or a sample."""

from __future__ import annotations

from typing import Any

from ..draft import Draft
from ..words import percent

Row = dict[str, Any]

MAX_CLUSTERS = 20
EXAMPLES = 8  # images of one cluster


def gallery(draft: Draft) -> Row:
    """Groups of images with a heading each; one group without a heading where the run has no clusters."""
    size, clusters = draft.ask("embedding_size").row["n"], draft.ask("cluster_sizes").rows
    if not clusters:
        rows = draft.ask("example_images", {"max_images": draft.max_images}).rows
        return {"size": size, "n_clusters": 0, "groups": [{"name": "", "n": len(rows), "images": draft.pictures(rows)}]}
    examples = draft.ask("cluster_examples", {"max_images": EXAMPLES}).rows
    groups = [
        {
            "name": f"Cluster {row['cluster']}",
            "n": row["n"],
            "label": row["name"] and f"{percent(row['share'])} {row['name']}",
            "images": draft.pictures([one for one in examples if one["cluster"] == row["cluster"]]),
        }
        for row in clusters[:MAX_CLUSTERS]
    ]
    return {"size": size, "n_clusters": len(clusters), "groups": groups}
