"""Every error this package raises on purpose.

    SQLAnalysisError
    ├─ ArgumentError      a wrong argument: type, range, unknown value of an option; also a ValueError
    ├─ SchemaError        not an evaluation file, another schema version, a missing column, classes that do not fit
    ├─ NotFoundError      no such file, run, metric, model, layer or class; names near matches
    ├─ QueryError         DuckDB refused; the original is `__cause__`
    ├─ ImageError         bytes that cannot be read as an image; a row in `errors` unless you ask otherwise
    ├─ InferenceError     loading a model, its forward pass, its shapes, rows not accounted for
    └─ MissingExtraError  an optional package is absent; also an ImportError

Branches follow what the caller does about it. Wrong use raises; bad rows are data.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SQLAnalysisError(Exception):
    """Root of the tree: catch this to catch all of ours."""


class ArgumentError(SQLAnalysisError, ValueError):
    """An argument has the wrong type, is out of range, or is not one of an option's values."""


class SchemaError(SQLAnalysisError):
    """The file, table or source does not have the shape we need."""


class NotFoundError(SQLAnalysisError):
    """Something named does not exist."""


class QueryError(SQLAnalysisError):
    """DuckDB refused a statement."""


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
