"""Evaluate image models in one DuckDB file: images, runs, predictions, metrics with intervals, report.

Names are resolved when first used, so that `import sqlanalysis` loads no torch and no umap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "add_images": "ingest",
    "add_predictions": "ingest",
    "connect": "database",
    "defer": "deferral",
    "find_neighbours": "neighbours",
    "list_metrics": "evaluation",
    "load_model": "models",
    "map_batches": "deferral",
    "metric": "evaluation",
    "predict": "prediction",
    "preflight": "prediction",
    "project": "projection",
    "register_model": "prediction",
    "render_sql": "templates",
    "report": "reporting",
    "to_tensor": "deferral",
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
    from .database import connect as connect
    from .deferral import defer as defer
    from .deferral import map_batches as map_batches
    from .deferral import to_tensor as to_tensor
    from .evaluation import list_metrics as list_metrics
    from .evaluation import metric as metric
    from .ingest import add_images as add_images
    from .ingest import add_predictions as add_predictions
    from .models import load_model as load_model
    from .neighbours import find_neighbours as find_neighbours
    from .prediction import predict as predict
    from .prediction import preflight as preflight
    from .prediction import register_model as register_model
    from .projection import project as project
    from .reporting import report as report
    from .templates import render_sql as render_sql
