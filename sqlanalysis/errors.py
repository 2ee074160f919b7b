"""Every error this package raises on purpose.

    SQLAnalysisError
    ├─ SchemaError        not our file, another schema version, a missing column
    ├─ TemplateError      no such SQL template, an undefined name in one
    ├─ QueryError         DuckDB refused; the original is `__cause__`
    ├─ NotFoundError      no such file, run, metric, model, layer or class; names near matches
    ├─ ImageError         bytes that are no image we read; a row in `errors` unless you ask otherwise
    ├─ InferenceError     loading a model, its forward pass, its shapes, rows not accounted for
    └─ MissingExtraError  an optional package is absent; also an ImportError

Wrong use raises; bad rows are data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SQLAnalysisError(Exception):
    """Root of the tree: catch this to catch all of ours."""


class SchemaError(SQLAnalysisError):
    """The file, table or source does not have the shape we need."""


class TemplateError(SQLAnalysisError):
    """A SQL template is missing or uses an undefined name."""


class QueryError(SQLAnalysisError):
    """DuckDB refused a statement."""


class NotFoundError(SQLAnalysisError):
    """Something named does not exist."""


class ImageError(SQLAnalysisError):
    """Bytes that cannot be read as an image."""


class InferenceError(SQLAnalysisError):
    """A model cannot be loaded or run, or its outputs do not add up."""


class MissingExtraError(SQLAnalysisError, ImportError):
    """An optional package is not installed."""


def near_matches(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?`, or the first few known names when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {', '.join(near)}?"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"; there are: {shown}" if names else "; there are none yet"
