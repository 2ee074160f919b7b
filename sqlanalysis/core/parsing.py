"""JSON from files of others: what Python reads and no database can hold is refused like what is no JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str) -> Any:
    """A value of JSON.

    Raises:
        ValueError: no JSON, nested too deeply, or with a lone surrogate (half a character) in a text.
    """
    try:
        found = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return found
