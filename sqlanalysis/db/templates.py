"""The SQL files: find them, read their headers, render them, and sort them by what they use.

Names are unique over all of `sql/`. `sql/tables`, `sql/views`, `sql/metrics/TOPIC`, `sql/lib` and `sql/expectations`
contain plain SQL, one object per file. `sql/statements` and `sql/page` contain Jinja templates, several named queries
per file; Jinja inserts names and structure only, and values are bound parameters. Only files of this package are
compiled as templates, never data.
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
# The argument for each required parameter in the example of a macro.
_SAMPLES = {
    "rel": "'my_run'",
    "rels": "['my_run', 'old_run']",
    "runs": "['seed_1', 'seed_2']",
    "baselines": "['old_seed_1', 'old_seed_2']",
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
    "name": "'calibration_error'",
    "costs": "'my_costs'",
    "tree": "'my_tree'",
    "t": "1.5",
    "k": "8",
    "n": "10",
    "level": "0.95",
    "xs": "[0.2, 0.7, 0.1]",
    "x": "width_px",
    "width": "100",
    "baseline_accuracy": "0.76",
    "gain": "0.01",
}
# Tests of numbers take one.
_NUMERIC = ("ks_test", "psi_numeric")


@dataclass(frozen=True)
class Header:
    """The five comment lines at the top of the file of an object."""

    summary: str
    grain: str
    parameters: str
    edges: str
    source: str


@dataclass(frozen=True)
class Template:
    """One object or named query: name, folder below `sql/` (with the topic of a metric), file and text."""

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
        """The topic under which `help` lists the object."""
        return self.folder.rpartition("/")[2]

    @property
    def is_plain(self) -> bool:
        """Whether the text is plain SQL, which is not rendered; expectations take SQL for the groups of images."""
        return self.kind in PLAIN and self.kind != "expectations"

    @property
    def summary(self) -> str:
        """Its first comment line."""
        return self.text.partition("\n")[0].removeprefix("--").strip()

    @property
    def signature(self) -> str:
        """A macro with its parameters and defaults; empty for everything else."""
        match = _SIGNATURE.search(self.text)
        return f"{match[1]}({' '.join(match[2].split())})" if match else ""

    @property
    def is_table_macro(self) -> bool:
        """Whether it is a table macro."""
        match = _SIGNATURE.search(self.text)
        return bool(match and match[3])

    @property
    def example(self) -> str:
        """A call with sample arguments for the required parameters."""
        if not self.signature:
            return f"from {self.name}"
        samples = {**_SAMPLES, "expr": "confidence"} if self.name in _NUMERIC else _SAMPLES
        required = [part for part, default in parameter_defaults(self.signature).items() if default is None]
        call = f"{self.name}({', '.join(samples.get(part, part) for part in required)})"
        return f"from {call}" if self.is_table_macro else f"select {call}"


def parameter_defaults(signature: str) -> dict[str, str | None]:
    """The parameters of a macro in order, each with its default as SQL; None where it has to be given."""
    # A comma inside the brackets of a default, such as [1, 3, 5], does not separate parameters.
    parts = re.split(r",(?![^\[]*\])", signature.partition("(")[2].rpartition(")")[0])
    pairs = [part.partition(":=") for part in parts if part.strip()]
    return {name.strip(): default.strip() if sign else None for name, sign, default in pairs}


def ident(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for statements that take no bound parameter."""
    return "'" + text.replace("'", "''") + "'"


@functools.cache
def root() -> Path:
    """The folder of SQL files: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    return next(folder for folder in (package / "sql", package.parent / "sql") if folder.is_dir())


@functools.cache
def index() -> dict[str, Template]:
    """All objects and named queries by name, in the order of the files."""
    read = [template for file in sorted(root().rglob("*.sql")) for template in _read(file)]
    return {template.name: template for template in read}


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
    # Without StrictUndefined a missing name would render as empty text, and the statement could still be valid.
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
        NotFoundError: there is none; the message suggests similar names.
    """
    if name not in index():
        raise NotFoundError(f"no SQL file or query {name!r}{near_matches(name, index())}")
    return index()[name]


def render(template: str, /, **names: object) -> str:
    """The SQL text of one template; `names` are identifiers and structure, never values.

    Raises:
        NotFoundError: no such template.
        ArgumentError: the template needs a name that was not given.
    """
    source = find(template)
    if source.is_plain:
        return source.text
    try:
        return _compiled(template).render(**names)
    except jinja2.UndefinedError as error:
        raise ArgumentError(f"{source.name} in sql/{source.folder}/{source.file.name}: {error.message}") from error


def body(text: str) -> str:
    """SQL without the comment at its top."""
    return re.sub(r"\A(--[^\n]*\n)+", "", text)


def header(name: str) -> Header:
    """The five header lines of the file of an object.

    Raises:
        NotFoundError: there is no such object.
        SchemaError: the file does not start with the five lines.
    """
    template = find(name)
    lines = [line[2:].strip() for line in template.text.splitlines()[:5] if line.startswith("--")]
    if len(lines) < 5 or any(not line.startswith(f"{key}:") for line, key in zip(lines[1:], HEADER[1:], strict=True)):
        raise SchemaError(f"sql/{template.folder}/{name}.sql: the header needs a summary, then {', '.join(HEADER[1:])}")
    return Header(lines[0], *(line.partition(":")[2].strip() for line in lines[1:]))


@functools.cache
def installed(*folders: str) -> tuple[Template, ...]:
    """The objects in these folders, each after the objects that it uses.

    Raises:
        SchemaError: objects use each other in a circle.
    """
    objects = {name: template for name, template in index().items() if template.kind in folders}
    # Comments and strings name objects without using them.
    code = {name: re.sub(r"--[^\n]*|'[^']*'", " ", template.text) for name, template in objects.items()}
    used = re.compile(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)|\b([a-z_][a-z0-9_]*)\s*\(")
    uses = {name: {a or b for a, b in used.findall(text)} & (code.keys() - {name}) for name, text in code.items()}
    order: list[str] = []
    while len(order) < len(uses):
        ready = [name for name in sorted(uses) if name not in order and uses[name] <= set(order)]
        if not ready:
            raise SchemaError(f"sql: these use each other: {sorted(set(uses) - set(order))}")
        order += ready
    return tuple(objects[name] for name in order)


def metrics() -> list[Template]:
    """The public table macros, sorted by name."""
    public = (macro for macro in installed(*MACROS) if macro.kind == "metrics" and macro.is_table_macro)
    return sorted(public, key=lambda macro: macro.name)


def render_sql(name: str, /, **names: object) -> str:
    """The SQL text of one object or query, as it is sent to DuckDB; it can be pasted into any DuckDB shell.

    Args:
        name: such as `accuracy`, `comparable` or `class_table`.
        names: identifiers that the query needs, such as `run="resnet18"`.

    Raises:
        NotFoundError: no such object or query; the message suggests similar names.
        ArgumentError: the query needs a name that was not given.
    """
    return render(name, **names)
