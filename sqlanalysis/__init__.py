"""Evaluate image models in one DuckDB file: images, runs, predictions, metrics with intervals, report.

Names are resolved when first used, so that `import sqlanalysis` loads no torch and no umap.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

_HOME = {
    "AddedColumn": "runs.columns",
    "AddedImages": "data.images",
    "AddedPredictions": "runs.imported",
    "Applied": "data.reviews",
    "ArgumentError": "errors",
    "Checked": "evaluation.checks",
    "Clustered": "embeddings.clustering",
    "Comparison": "evaluation.comparison",
    "Copied": "db.copying",
    "DeferredColumn": "runs.deferred",
    "Demo": "demo",
    "Derived": "runs.derived",
    "DryRun": "runs.predict",
    "Expectation": "evaluation.junit",
    "Exported": "runs.export",
    "FoundNeighbors": "embeddings.neighbors",
    "ImageError": "errors",
    "InferenceError": "errors",
    "Mapped": "runs.deferred",
    "Localized": "runs.parts",
    "Measured": "data.statistics",
    "MissingExtraError": "errors",
    "Model": "models.model",
    "NotFoundError": "errors",
    "Page": "page.notebook",
    "Predicted": "runs.predict",
    "Projected": "embeddings.projection",
    "QueryError": "errors",
    "Recovered": "db.recovery",
    "Rows": "page.notebook",
    "SQLAnalysisError": "errors",
    "Sample": "runs.sample",
    "SchemaError": "errors",
    "Verified": "db.recovery",
    "add_column": "runs.columns",
    "add_images": "data.images",
    "add_predictions": "runs.imported",
    "apply_labels": "data.reviews",
    "check": "evaluation.checks",
    "cluster": "embeddings.clustering",
    "compare": "evaluation.comparison",
    "connect": "db.connection",
    "copy_database": "db.copying",
    "defer": "runs.deferred",
    "drop_run": "runs.run",
    "ensemble": "runs.derived",
    "export": "runs.export",
    "find_images": "embeddings.search",
    "find_neighbors": "embeddings.neighbors",
    "head": "page.notebook",
    "list_metrics": "evaluation.metrics",
    "load_model": "models.model",
    "localize": "runs.parts",
    "map_batches": "runs.deferred",
    "measure_images": "data.statistics",
    "metric": "evaluation.metrics",
    "predict": "runs.predict",
    "project": "embeddings.projection",
    "read_report": "page.data",
    "recover": "db.recovery",
    "register_model": "runs.predict",
    "report": "page.report",
    "show": "page.notebook",
    "temperature_scale": "runs.derived",
    "to_tensor": "runs.deferred",
    "verify": "db.recovery",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    if name == "connect" and "IPython" in sys.modules:
        from .core.kernel import shell

        if (running := shell()) is not None:
            load_ipython_extension(running)
    return value


def load_ipython_extension(shell: Any) -> None:
    """Let a notebook show relations as tables with thumbnails: `%load_ext sqlanalysis`, or by itself with `connect`."""
    from .page.notebook import register

    register(shell)


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from .data.images import AddedImages as AddedImages
    from .data.images import add_images as add_images
    from .data.reviews import Applied as Applied
    from .data.reviews import apply_labels as apply_labels
    from .data.statistics import Measured as Measured
    from .data.statistics import measure_images as measure_images
    from .db.connection import connect as connect
    from .db.copying import Copied as Copied
    from .db.copying import copy_database as copy_database
    from .db.recovery import Recovered as Recovered
    from .db.recovery import Verified as Verified
    from .db.recovery import recover as recover
    from .db.recovery import verify as verify
    from .demo import Demo as Demo
    from .embeddings.clustering import Clustered as Clustered
    from .embeddings.clustering import cluster as cluster
    from .embeddings.neighbors import FoundNeighbors as FoundNeighbors
    from .embeddings.neighbors import find_neighbors as find_neighbors
    from .embeddings.projection import Projected as Projected
    from .embeddings.projection import project as project
    from .embeddings.search import find_images as find_images
    from .errors import ArgumentError as ArgumentError
    from .errors import ImageError as ImageError
    from .errors import InferenceError as InferenceError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NotFoundError as NotFoundError
    from .errors import QueryError as QueryError
    from .errors import SchemaError as SchemaError
    from .errors import SQLAnalysisError as SQLAnalysisError
    from .evaluation.checks import Checked as Checked
    from .evaluation.checks import check as check
    from .evaluation.comparison import Comparison as Comparison
    from .evaluation.comparison import compare as compare
    from .evaluation.junit import Expectation as Expectation
    from .evaluation.metrics import list_metrics as list_metrics
    from .evaluation.metrics import metric as metric
    from .models.model import Model as Model
    from .models.model import load_model as load_model
    from .page.data import read_report as read_report
    from .page.notebook import Page as Page
    from .page.notebook import Rows as Rows
    from .page.notebook import head as head
    from .page.notebook import show as show
    from .page.report import report as report
    from .runs.columns import AddedColumn as AddedColumn
    from .runs.columns import add_column as add_column
    from .runs.deferred import DeferredColumn as DeferredColumn
    from .runs.deferred import Mapped as Mapped
    from .runs.deferred import defer as defer
    from .runs.deferred import map_batches as map_batches
    from .runs.deferred import to_tensor as to_tensor
    from .runs.derived import Derived as Derived
    from .runs.derived import ensemble as ensemble
    from .runs.derived import temperature_scale as temperature_scale
    from .runs.export import Exported as Exported
    from .runs.export import export as export
    from .runs.imported import AddedPredictions as AddedPredictions
    from .runs.imported import add_predictions as add_predictions
    from .runs.parts import Localized as Localized
    from .runs.parts import localize as localize
    from .runs.predict import DryRun as DryRun
    from .runs.predict import Predicted as Predicted
    from .runs.predict import predict as predict
    from .runs.predict import register_model as register_model
    from .runs.run import drop_run as drop_run
    from .runs.sample import Sample as Sample
