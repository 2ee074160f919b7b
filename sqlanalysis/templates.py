"""The SQL files: find them, read their headers, render them, put them in order.

`sql/tables`, `sql/views` and `sql/metrics` hold plain SQL, one object a file, installed into the database;
`sql/expectations` holds plain queries, which users copy.
`sql/statements` and `sql/report` hold Jinja templates, in which Jinja chooses names and structure only:
values are bound parameters. Templates are our own; data is never compiled as one.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .errors import NotFoundError, TemplateError, near_matches

INSTALLED = ("tables", "views", "metrics")
PLAIN = (*INSTALLED, "expectations")
HEADER = ("summary", "Grain", "Parameters", "Edges", "Source")


@dataclass(frozen=True)
class Header:
    """The five comment lines that open every SQL file."""

    summary: str
    grain: str
    parameters: str
    edges: str
    source: str


def ident(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for the few places that take no bound parameter."""
    return "'" + text.replace("'", "''") + "'"


@functools.cache
def root() -> Path:
    """The folder of SQL files: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "sql", package.parent / "sql") if folder.is_dir())


@functools.cache
def paths() -> dict[str, Path]:
    """Every template: name (`folder/file`) → file."""
    return {f"{file.parent.relative_to(root())}/{file.stem}": file for file in sorted(root().rglob("*.sql"))}


@functools.cache
def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.globals.update(ident=ident, literal=literal)
    return environment


@functools.cache
def _compiled(name: str) -> jinja2.Template:
    return _environment().from_string(source(name))


def resolve(name: str) -> str:
    """The full name of a template given as `accuracy` or `metrics/accuracy`."""
    known = paths()
    if name in known:
        return name
    found = [full for full in known if full.rpartition("/")[2] == name]
    if not found:
        short = {full.rpartition("/")[2] for full in known}
        raise NotFoundError(f"no SQL template {name!r}{near_matches(name, short)}")
    return found[0]


def source(name: str) -> str:
    """The text of a SQL file, unrendered."""
    return paths()[resolve(name)].read_text(encoding="utf-8")


def render(template: str, /, **names: object) -> str:
    """The exact SQL text of one template; `names` are identifiers and structure, never values."""
    full = resolve(template)
    if full.partition("/")[0] in PLAIN:
        return source(full)
    try:
        return _compiled(full).render(**names)
    except jinja2.UndefinedError as error:
        raise TemplateError(f"sql/{full}.sql: {error.message}; pass it as a keyword") from error


def header(name: str) -> Header:
    """The five header lines of a SQL file."""
    lines = [line[2:].strip() for line in source(name).splitlines()[:5] if line.startswith("--")]
    if len(lines) < 5 or any(not line.startswith(f"{key}:") for line, key in zip(lines[1:], HEADER[1:], strict=True)):
        raise TemplateError(f"sql/{resolve(name)}.sql: the header needs a summary, then {', '.join(HEADER[1:])}")
    return Header(lines[0], *(line.partition(":")[2].strip() for line in lines[1:]))


@functools.cache
def installed(folder: str) -> tuple[str, ...]:
    """Object names of one folder, each after the objects of that folder it uses."""
    bodies = {name.rpartition("/")[2]: source(name) for name in paths() if name.startswith(f"{folder}/")}
    code = {name: re.sub(r"--[^\n]*|'[^']*'", " ", body) for name, body in bodies.items()}
    used = re.compile(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)|\b([a-z_][a-z0-9_]*)\s*\(")
    uses = {name: {a or b for a, b in used.findall(text)} & (code.keys() - {name}) for name, text in code.items()}
    order: list[str] = []
    while len(order) < len(uses):
        ready = [name for name in sorted(uses) if name not in order and uses[name] <= set(order)]
        if not ready:
            raise TemplateError(f"sql/{folder}: these use each other: {sorted(set(uses) - set(order))}")
        order += ready
    return tuple(order)


def statements(folder: str) -> tuple[tuple[str, str, str], ...]:
    """(name, SQL, summary) of every object in one folder, in the order to create them."""
    return tuple((name, source(f"{folder}/{name}"), header(f"{folder}/{name}").summary) for name in installed(folder))


def render_sql(name: str, /, **names: object) -> str:
    """The text this package sends to DuckDB for one SQL file.

    Args:
        name: file name without `.sql`, such as `accuracy` or `report/class_table`.
        names: identifiers that a statement template asks for, such as `run="resnet18"`.

    Returns:
        The rendered SQL; paste it into any DuckDB shell.

    Raises:
        NotFoundError: no such file; names near matches.
        TemplateError: the template needs a name that was not given.
    """
    return render(name, **names)
