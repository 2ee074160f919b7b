"""The SQL files: find them, read their headers, render them, put them in order.

One name, one text, unique over all of `sql/`. `sql/tables`, `sql/views`, `sql/metrics/TOPIC`, `sql/lib` and
`sql/expectations` hold plain SQL, one object a file. `sql/statements` and `sql/page` hold Jinja templates, several
named queries a file, in which Jinja chooses names and structure only: values are bound parameters. Templates are our
own; data is never compiled as one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import ArgumentError, NotFoundError, SchemaError, near_matches

MACROS = ("lib", "metrics")
PLAIN = ("tables", "views", "expectations", *MACROS)
HEADER = ("summary", "Grain", "Parameters", "Edges", "Source")
_QUERY = re.compile(r"^-- name: (\w+)\n", re.M)
_SIGNATURE = re.compile(r"create or replace macro (\w+)\((.*?)\) as( table)?\b", re.S)
# What stands for a required parameter in the example of a macro.
_SAMPLES = {
    "rel": "'my_run'",
    "baseline": "'old_run'",
    "rel_ref": "'old_run'",
    "rel_cur": "'my_run'",
    "neighbors": "'my_run_neighbors'",
    "expr": "split",
    "cols": "['split', 'format']",
    "weight": "n_bytes",
    "threshold": "0.8",
    "query_id": "1",
    "cls": "0",
    "t": "1.5",
    "k": "8",
    "n": "10",
    "level": "0.95",
    "xs": "[0.2, 0.7, 0.1]",
    "x": "width_px",
    "width": "100",
}


@dataclass(frozen=True)
class Header:
    """The five comment lines that open the file of an object."""

    summary: str
    grain: str
    parameters: str
    edges: str
    source: str


@dataclass(frozen=True)
class Template:
    """One object or named query: its folder below `sql/` (with the topic of a metric), its file, its text."""

    name: str
    folder: str
    file: Path
    text: str

    @property
    def kind(self) -> str:
        """`tables`, `views`, `metrics`, `lib`, `expectations`, `statements` or `page`."""
        return self.folder.partition("/")[0]

    @property
    def topic(self) -> str:
        """What `help` lists the object under."""
        return self.folder.rpartition("/")[2]

    @property
    def is_plain(self) -> bool:
        """Whether the text is sent as it is."""
        return self.kind in PLAIN

    @property
    def summary(self) -> str:
        """What it is, in the words of its first comment line."""
        return self.text.partition("\n")[0].removeprefix("--").strip()

    @property
    def signature(self) -> str:
        """A macro with its parameters and defaults; empty for everything else."""
        found = _SIGNATURE.search(self.text)
        return f"{found[1]}({' '.join(found[2].split())})" if found else ""

    @property
    def is_table_macro(self) -> bool:
        """Whether it is a macro that gives rows."""
        found = _SIGNATURE.search(self.text)
        return bool(found and found[3])

    @property
    def example(self) -> str:
        """A call to copy: required parameters filled in."""
        if not self.signature:
            return f"from {self.name}"
        call = f"{self.name}({', '.join(_SAMPLES.get(part, part) for part in required_parameters(self.signature))})"
        return f"from {call}" if self.is_table_macro else f"select {call}"


def required_parameters(signature: str) -> list[str]:
    """The parameters without a default; a comma inside brackets does not separate."""
    parts = re.split(r",(?![^\[]*\])", signature.partition("(")[2].rpartition(")")[0])
    return [part.strip() for part in parts if part.strip() and ":=" not in part]


def ident(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for the few places that take no bound parameter."""
    return "'" + text.replace("'", "''") + "'"


@functools.cache
def root() -> Path:
    """The folder of SQL files: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    return next(folder for folder in (package / "sql", package.parent / "sql") if folder.is_dir())


@functools.cache
def index() -> dict[str, Template]:
    """Every object and named query by its name, in the order of files."""
    found = [one for file in sorted(root().rglob("*.sql")) for one in _read(file)]
    return {one.name: one for one in found}


def _read(file: Path) -> Iterator[Template]:
    folder, text = file.parent.relative_to(root()).as_posix(), file.read_text(encoding="utf-8")
    if folder.partition("/")[0] in PLAIN:
        yield Template(file.stem, folder, file, text)
        return
    parts = _QUERY.split(text)[1:]
    for name, query in zip(parts[::2], parts[1::2], strict=True):
        yield Template(name, folder, file, query.strip() + "\n")


@functools.cache
def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.globals.update(ident=ident, literal=literal)
    return environment


@functools.cache
def _compiled(name: str) -> jinja2.Template:
    return _environment().from_string(find(name).text)


def find(name: str) -> Template:
    """The object or query of that name.

    Raises:
        NotFoundError: there is none; names near matches.
    """
    if name not in index():
        raise NotFoundError(f"no SQL file or query {name!r}{near_matches(name, index())}")
    return index()[name]


def render(template: str, /, **names: object) -> str:
    """The exact SQL text of one template; `names` are identifiers and structure, never values.

    Raises:
        NotFoundError: no such template.
        ArgumentError: the template needs a name that was not given.
    """
    found = find(template)
    if found.is_plain:
        return found.text
    try:
        return _compiled(template).render(**names)
    except jinja2.UndefinedError as error:
        raise ArgumentError(f"{found.name} in sql/{found.folder}/{found.file.name}: {error.message}") from error


def body(text: str) -> str:
    """SQL without the comment that opens it."""
    return re.sub(r"\A(--[^\n]*\n)+", "", text)


def header(name: str) -> Header:
    """The five header lines of the file of an object."""
    found = find(name)
    lines = [line[2:].strip() for line in found.text.splitlines()[:5] if line.startswith("--")]
    if len(lines) < 5 or any(not line.startswith(f"{key}:") for line, key in zip(lines[1:], HEADER[1:], strict=True)):
        raise SchemaError(f"sql/{found.folder}/{name}.sql: the header needs a summary, then {', '.join(HEADER[1:])}")
    return Header(lines[0], *(line.partition(":")[2].strip() for line in lines[1:]))


@functools.cache
def installed(*kinds: str) -> tuple[Template, ...]:
    """The objects of these kinds, each after those it uses."""
    found = {name: one for name, one in index().items() if one.kind in kinds}
    code = {name: re.sub(r"--[^\n]*|'[^']*'", " ", one.text) for name, one in found.items()}
    used = re.compile(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)|\b([a-z_][a-z0-9_]*)\s*\(")
    uses = {name: {a or b for a, b in used.findall(text)} & (code.keys() - {name}) for name, text in code.items()}
    order: list[str] = []
    while len(order) < len(uses):
        ready = [name for name in sorted(uses) if name not in order and uses[name] <= set(order)]
        if not ready:
            raise SchemaError(f"sql: these use each other: {sorted(set(uses) - set(order))}")
        order += ready
    return tuple(found[name] for name in order)


def metrics() -> list[Template]:
    """The public macros that give rows, by name."""
    found = (one for one in installed(*MACROS) if one.kind == "metrics" and one.is_table_macro)
    return sorted(found, key=lambda one: one.name)


def render_sql(name: str, /, **names: object) -> str:
    """The text that is sent to DuckDB for one object or query; paste it into any DuckDB shell.

    Args:
        name: such as `accuracy`, `comparable` or `class_table`.
        names: identifiers that a query asks for, such as `run="resnet18"`.

    Raises:
        NotFoundError: no such object or query; names near matches.
        ArgumentError: the query needs a name that was not given.
    """
    return render(name, **names)
