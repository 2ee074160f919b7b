"""The errors that this package raises on purpose.

    SQLAnalysisError
    ├─ ArgumentError      a wrong argument: type, range, unknown option value; also a ValueError
    ├─ SchemaError        not an evaluation file, another schema version, a missing column, incompatible classes
    ├─ NotFoundError      no such file, run, metric, model, layer or class; suggests similar names
    ├─ QueryError         DuckDB refused a statement; its error is `__cause__`
    ├─ ImageError         bytes that cannot be read as an image; verbs record it in the table `errors` instead
    ├─ InferenceError     a model cannot be loaded or run, or its outputs have the wrong shape or number
    └─ MissingExtraError  an optional package is not installed; also an ImportError

Each class stands for a different reaction of the caller. Wrong use raises; images that fail are rows in `errors`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SQLAnalysisError(Exception):
    """Base class of all errors of this package."""


class ArgumentError(SQLAnalysisError, ValueError):
    """An argument has the wrong type, is out of range, or is not one of an option's values."""


class SchemaError(SQLAnalysisError):
    """The file, table or source does not have the layout that is needed."""


class NotFoundError(SQLAnalysisError):
    """Something with that name does not exist."""


class QueryError(SQLAnalysisError):
    """DuckDB refused a statement."""


class ImageError(SQLAnalysisError):
    """Bytes that cannot be read as an image."""


class InferenceError(SQLAnalysisError):
    """A model cannot be loaded or run, or its outputs have the wrong shape or number."""


class MissingExtraError(SQLAnalysisError, ImportError):
    """An optional package is not installed."""


def near_matches(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?`, or the first known names when none is similar."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {', '.join(near)}?"
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return f"; there are: {shown}" if names else "; there are none yet"
