"""JSON from files of others: what Python reads and no database can hold is refused like what is no JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import SchemaError
from .text import one_line

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, origin: object) -> Any:
    """A value of JSON.

    Args:
        text: the JSON.
        origin: what to call it in messages.

    Raises:
        SchemaError: no JSON, nested too deeply, or with a lone surrogate (half a character) in a text.
    """
    try:
        found = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise SchemaError(f"{origin} is not JSON that can be read: nested too deeply") from None
    except (ValueError, MemoryError) as error:
        raise SchemaError(f"{origin} is not JSON: {one_line(error, 200)}") from error
    return found
