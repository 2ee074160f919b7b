"""Evaluate image models in one DuckDB file: images, runs, predictions, metrics with intervals, report.

Names are resolved when first used, so that `import sqlanalysis` loads no torch and no umap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "add_images": "ingest",
    "add_predictions": "ingest",
    "check": "gate",
    "cluster": "clustering",
    "compare": "comparison",
    "connect": "database",
    "defer": "deferral",
    "drop_run": "runs",
    "ensemble": "rescoring",
    "find_neighbours": "neighbours",
    "list_metrics": "evaluation",
    "load_model": "models",
    "map_batches": "deferral",
    "measure_images": "measurement",
    "metric": "evaluation",
    "predict": "prediction",
    "preflight": "prediction",
    "project": "projection",
    "read_report": "packing",
    "recover": "recovery",
    "register_model": "prediction",
    "render_sql": "templates",
    "report": "reporting",
    "rescale": "rescoring",
    "show": "display",
    "to_tensor": "deferral",
    "verify": "recovery",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


if TYPE_CHECKING:
    from .clustering import cluster as cluster
    from .comparison import compare as compare
    from .database import connect as connect
    from .deferral import defer as defer
    from .deferral import map_batches as map_batches
    from .deferral import to_tensor as to_tensor
    from .display import show as show
    from .evaluation import list_metrics as list_metrics
    from .evaluation import metric as metric
    from .gate import check as check
    from .ingest import add_images as add_images
    from .ingest import add_predictions as add_predictions
    from .measurement import measure_images as measure_images
    from .models import load_model as load_model
    from .neighbours import find_neighbours as find_neighbours
    from .packing import read_report as read_report
    from .prediction import predict as predict
    from .prediction import preflight as preflight
    from .prediction import register_model as register_model
    from .projection import project as project
    from .recovery import recover as recover
    from .recovery import verify as verify
    from .reporting import report as report
    from .rescoring import ensemble as ensemble
    from .rescoring import rescale as rescale
    from .runs import drop_run as drop_run
    from .templates import render_sql as render_sql
