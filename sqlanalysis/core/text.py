"""Make text safe to show: in a terminal, a table, XML, CSV, a sentence, a chart. All escaping is in this module."""

from __future__ import annotations

import re
import unicodedata

MAX_LINE = 500
_MAX_READ = 1 << 16  # characters of a text of which one line is kept
# Control and direction characters, lone surrogates, and what XML 1.0 forbids.
_ODD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
# What colors a terminal: control sequences as in ECMA-48.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]")
# Bidirectional classes of right-to-left letters and of the characters that control direction.
_TURNING = {"R", "AL", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"}


def for_terminal(text: str) -> str:
    """Escape the control and direction characters, which a terminal would interpret; newlines and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)


def one_line(value: object, most: int = MAX_LINE) -> str:
    """The text of a value on one line of at most `most` characters, without control characters or any XML forbids.

    Never raises: for a value whose `__str__` raises, the text names its type and the error.
    """
    line = " ".join(_ESCAPES.sub("", _text(value)).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    return _ODD.sub(lambda odd: f"\\u{ord(odd[0]):04x}", line)


def type_name(value: object) -> str:
    """The name of the type of a value, also where its metaclass has a `__name__` that raises."""
    name: str = type.__dict__["__name__"].__get__(type(value))
    return name


def describe_error(stage: str, error: BaseException) -> dict[str, str]:
    """An error about one image as a value of `arrow.ERROR_TYPE`; any error can be described."""
    name = one_line(type_name(error))
    return {"stage": stage, "error": name, "message": one_line(error) or name}


def _text(value: object) -> str:
    try:
        text = str(value)
    except BaseException as error:  # a user's class may raise anything
        text = f"{type_name(value)} whose text raises {type_name(error)}"
    return str.__str__(text)[:_MAX_READ]  # `text` may be of a class derived from str, whose methods raise


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of the text of a library's error that says something, without escape codes; else its type."""
    lines = (one_line(line, most) for line in _ESCAPES.sub("", _text(error)).splitlines())
    return next((line for line in lines if line), type_name(error))


def for_xml(text: str) -> str:
    """Text in which the characters that XML 1.0 forbids are replaced by U+FFFD."""
    return _NO_XML.sub("\ufffd", text)


def csv_cell(value: object) -> object:
    """A value for CSV; text that a spreadsheet would evaluate as a formula starts with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def name_in_sentence(name: str, limit: int = 60) -> str:
    """A name for use in a sentence: cut when long, and isolated when it contains right-to-left text.

    Without the isolation characters, such a name would reorder the words around it.
    """
    text = name if len(name) <= limit else name[:limit] + "…"
    turns = any(unicodedata.bidirectional(character) in _TURNING for character in text)
    return f"\u2068{text}\u2069" if turns else text


def decodable(name: str) -> str:
    r"""A file name as valid text: its bytes that are not UTF-8 become \udcNN."""
    return name.encode("utf-8", "backslashreplace").decode()


def cut_middle(text: str, limit: int) -> str:
    """A name for a chart: on one line, cut in the middle to `limit` columns, without characters that XML forbids.

    vl-convert ends the whole process on a character that XML forbids, and fails when Vega cuts an emoji in two.
    """
    line = " ".join(for_xml(text).split())
    if width(line) <= limit:
        return line
    head = _fit(line, limit // 2)
    return f"{head}…{_fit(line[::-1], limit // 2 - 1)[::-1]}"


def width(text: str) -> int:
    """Number of terminal columns that a text takes; wide characters take two."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def _fit(text: str, limit: int) -> str:
    text = text[:limit]
    while width(text) > limit:
        text = text[:-1]
    return text
