"""One verb per public function: parse, import the verb late, call it, print. stdout is data, stderr is talk.

Exit codes: 0 done, 1 error or rows not accounted for, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import atexit
import contextlib
import csv
import io
import json
import logging
import os
import re
import shlex
import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .core import deadline, talk
from .core.text import csv_cell, for_terminal, one_line
from .db import connection, statements, templates
from .errors import NotFoundError, SchemaError, SQLAnalysisError

if TYPE_CHECKING:
    import duckdb

    from .core.classes import Classes
    from .evaluation.comparison import Comparison
    from .models.model import Model

app = typer.Typer(
    name="sqlanalysis",
    help="Evaluate image models in one DuckDB file: one command, one answer with error bars.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


DEMO_MODELS = ("digits_cnn", "digits_mlp")
_patience = {"seconds": 0.0}  # of --wait
_trust = {"file": False}  # of --trust
_limit = {"seconds": 0.0}  # of --limit-seconds
_talk = {"quiet": False}  # of --quiet
SHOWN_ROWS = 20  # of each table of a comparison on a screen


class Format(StrEnum):
    """How a table of results is printed."""

    table = "table"
    csv = "csv"
    json = "json"


class Policy(StrEnum):
    """How outputs become classes of the data set."""

    auto = "auto"
    restricted = "restricted"
    open = "open"
    identity = "identity"


class Dtype(StrEnum):
    """What convolutions and matrix products are computed in."""

    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Storage(StrEnum):
    """Where outputs go."""

    table = "table"
    parts = "parts"


class RunnerName(StrEnum):
    """What computes."""

    local = "local"
    processes = "processes"
    ray = "ray"
    files = "files"


class Outputs(StrEnum):
    """What the values of each class are."""

    auto = "auto"
    logits = "logits"
    probs = "probs"
    log_probs = "log_probs"
    percent = "percent"
    sigmoid = "sigmoid"


Database = Annotated[Path, typer.Argument(metavar="DB", help="The evaluation file.")]
Columns = Annotated[
    list[str] | None, typer.Option(metavar="ROLE=COLUMN", help="Which column is what, such as label=species; repeat.")
]
Groups = Annotated[
    str | None, typer.Option(metavar="SQL", help="Column or expression: images of one value depend on each other.")
]
OutputFormat = Annotated[
    Format, typer.Option("--format", help="How to print the rows; in CSV, text like a formula gets an apostrophe.")
]
Weights = Annotated[
    str, typer.Option(help='"DEFAULT", another name of the source, a file, FILE#KEY of several in it, or "random".')
]
Layer = Annotated[str | None, typer.Option(help="Layer whose pooled output is kept as activation.")]
ModelClasses = Annotated[
    str | None,
    typer.Option(help='Names of the outputs: a data set of the file, a folder, a file, or "imagenet1k".'),
]


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        _run()
    except SystemExit as end:
        # Where torch has computed in DuckDB's threads, the end of the C++ libraries now and then aborts the process
        # ("terminate called without an active exception"), after all is done; so it is left out.
        if "torch" not in sys.modules or not isinstance(end.code, int | None):
            raise
        atexit._run_exitfuncs()
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(end.code or 0)


def _run() -> None:
    try:
        _run_verb()
    except SystemExit as end:
        if deadline.is_over() and end.code:
            limit = f"{_limit['seconds']:g} seconds of --limit-seconds"
            _say(f"error: not done within the {limit}; what was committed stays", always=True)
            end.code = 1
        raise


def _run_verb() -> None:
    debug = "--debug" in sys.argv[1:]
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        with statements.interrupts():
            app(args=arguments, prog_name="sqlanalysis")
    except KeyboardInterrupt:
        sys.exit(130)
    except SQLAnalysisError as error:
        if debug:
            raise
        if deadline.is_over():
            sys.exit(1)
        text = _in_options(one_line(error, 2000), arguments)
        if "disabled by configuration" in text and not _trust["file"] and "--safe" not in arguments:
            text += "; if the file is your own, `sqlanalysis --trust` before the verb lets its SQL read other files"
        _say(f"error: {text}", always=True)
        sys.exit(1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        _say(f"error: {error.filename or 'system'}: {error.strerror or error}", always=True)
        sys.exit(1)


def _in_options(text: str, arguments: list[str]) -> str:
    """A message in the words of the command line: `--classes` for `classes=`, `--overwrite` for `overwrite=True`."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    command = next((commands[word] for word in arguments if word in commands), None)
    options = {one.name: one.opts[0] for one in command.params if one.opts[0].startswith("--")} if command else {}

    def option(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        plain = value.strip("'\"")
        shown = value if " " in plain else plain
        return match[0] if name not in options else options[name] + (f" {shown}" if plain not in ("", "True") else "")

    text = re.sub(r"\bpredict\(con, model, '[^']*', ([^()]*)\)", r"the same command with \1", text)
    for name, written in options.items():  # where both forms are said, one is enough
        python = rf'(?<![\w.-]){name}=(?:\{{[^}}]*\}}|\[[^\]]*\]|"[^"]*"|[^\s,;()]*)'
        text = re.sub(rf"{python} \(({written}\b[^)]*)\)", r"\1", text)
        text = re.sub(rf"{python}, (?={written}\b)", "", text)
        text = re.sub(rf"{python}([^()]*?) \(({written}\b[^)]*)\)", r"\2\1", text)
    text = re.sub(r'(?<![\w.-])prompts=\["([^"]*)"\]', r'--prompt "\1"', text)
    text = re.sub(r'(?<![\w.-])columns=\{"(\w+)": "([^"]*)"\}', r"--columns \1=\2", text)
    return re.sub(r"(?<![\w.-])(?P<name>[a-z_]+)=(?!=)(?P<value>'[^']*'|\"[^\"]*\"|[^\s,;)]*)", option, text)


def _say(text: str, *, always: bool = False) -> None:
    if always or not _talk["quiet"]:
        print(for_terminal(text), file=sys.stderr)  # noqa: T201


def _out(text: str) -> None:
    print(for_terminal(text))  # noqa: T201


def _data(value: object) -> Any:
    """Text of a data format: escaped on a terminal, which would act on control characters; unchanged elsewhere."""
    return for_terminal(value) if isinstance(value, str) and sys.stdout.isatty() else value


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _out(version("sqlanalysis"))
        raise typer.Exit


@app.callback(epilog="--debug, anywhere, shows the traceback of an error.")
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a file that another process holds.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")] = False,
    limit_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="End with an error if it takes longer; default no limit.")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Let your own file name other files and addresses that are read."),
    ] = False,
) -> None:
    _patience["seconds"] = wait
    _trust["file"] = trust
    if limit_seconds is not None:
        _limit["seconds"] = limit_seconds
        deadline.set_limit(limit_seconds, connection.interrupt)
    _talk["quiet"] = quiet
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: _say(one_line(_in_options(record.getMessage(), sys.argv[1:]), 2000))  # type: ignore[method-assign]
    talk.logger.handlers, talk.logger.propagate = [handler], False


def _open(db: Path, **how: Any) -> duckdb.DuckDBPyConnection:
    """The evaluation file, as soon as it is free or the time to wait is over."""
    return connection.connect(db, wait=_patience["seconds"], **how)


def _open_to_read(db: Path, *relations: str) -> duckdb.DuckDBPyConnection:
    """The file for a verb that reads: its SQL reaches no other file than the relations that the command line names."""
    named = {name for text in relations for name in (text, *re.split(r"[]['\",=]", text))}
    allowed = sorted(name for name in named if Path(name).is_file())
    return _open(db, read_only=True, safe=not _trust["file"], allowed=allowed)


@app.command()
def init(db: Database) -> None:
    """Make an evaluation file, or bring its views and macros up to date."""
    _open(db).close()
    _say(f"{db} is ready; `from help` lists what is in it")


@app.command()
def add_images(
    db: Database,
    source: Annotated[str, typer.Argument(help="Folder, glob, image, table, archive, or address.")],
    dataset: Annotated[str | None, typer.Option(help="Name of the data set; default that of the source.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of images whose source names none.")] = None,
    store_bytes: Annotated[bool, typer.Option("--store-bytes", help="Keep the bytes in the file.")] = False,
    columns: Columns = None,
    classes: Annotated[str | None, typer.Option(help='Class names: a file, or "imagenet1k".')] = None,
    scale_16bit: Annotated[
        bool, typer.Option("--scale-16bit", help="Store 16-bit gray pictures as 8-bit ones.")
    ] = False,
    overwrite_reviewed: Annotated[
        bool, typer.Option("--overwrite-reviewed", help="Take the source's labels also in place of reviewed ones.")
    ] = False,
) -> None:
    """Add images by reference, or with their bytes; adding a source again adds nothing."""
    from .data.images import add_images

    with _open(db) as con:
        done = add_images(
            con,
            source,
            dataset=dataset,
            split=split,
            store_bytes=store_bytes,
            columns=_pairs(columns),
            classes=classes,
            scale_16bit=scale_16bit,
            overwrite_reviewed=overwrite_reviewed,
        )
    _say(
        f"{done.dataset}: {done.n_added} added, {done.n_changed} changed, {done.n_unchanged} unchanged, "
        f"{done.n_errors} errors; {done.n_labeled} labeled, {done.n_classes} classes"
    )
    if done.columns:
        _say(f"columns: {', '.join(f'{role} = {column}' for role, column in done.columns.items())}")
    if len(done.splits) > 1:
        _say(f"splits: {', '.join(f'{name} {n}' for name, n in done.splits.items())}")
    if done.n_errors:
        _say(f'see them: sqlanalysis query {db} "from errors where run is null"')


@app.command()
def add_predictions(
    db: Database,
    source: Annotated[str, typer.Argument(help="A table with a path or image_id, and pred, probs or logits.")],
    run: Annotated[str, typer.Option(help="Name of the new run.")],
    dataset: Annotated[str | None, typer.Option(help="Data set; default the only one.")] = None,
    columns: Columns = None,
    outputs: Annotated[Outputs, typer.Option(help="What the values of each class are.")] = Outputs.auto,
) -> None:
    """Add a run that something else predicted."""
    from .runs.imported import add_predictions

    with _open(db, create=False) as con:
        done = add_predictions(con, source, run, dataset=dataset, columns=_pairs(columns), outputs=outputs.value)
    _say(f"{run}: {done.n_ok} predictions, {done.n_errors} rows without an image or a class")


@app.command()
def predict(
    db: Database,
    model: Annotated[
        str,
        typer.Argument(
            help="A name of torchvision, timm/NAME, hf/NAME, a folder, a .pt2, .pt or .onnx file, or file.py:make."
        ),
    ],
    run: Annotated[str | None, typer.Option(help="Name of the run; default the model's.")] = None,
    weights: Weights = "DEFAULT",
    layer: Layer = None,
    classes: ModelClasses = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option("--prompt", help='Text for a CLIP or SigLIP, such as "a photo of a {}"; repeat.'),
    ] = None,
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Keep an embedding of each image, and predict nothing.")
    ] = False,
    policy: Annotated[Policy, typer.Option(help="How outputs become classes of the data set.")] = Policy.auto,
    class_map: Annotated[Path | None, typer.Option(help="CSV with columns from_class,to_class.")] = None,
    outputs: Annotated[Outputs, typer.Option(help="What the outputs of the model are.")] = Outputs.auto,
    dataset: Annotated[str | None, typer.Option(help="Data set; default the only one.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition over `images`.")] = None,
    split: Annotated[str | None, typer.Option(help="Only images of this split.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per forward pass.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda (all GPUs), cuda:0,1, …")] = "auto",
    dtype: Annotated[Dtype, typer.Option(help="fp16 on CUDA only.")] = Dtype.fp32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start the run from scratch.")] = False,
    retry_errors: Annotated[bool, typer.Option("--retry-errors", help="Try images again that failed.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first block with an error.")] = False,
    until_width: Annotated[
        float | None, typer.Option(help="Draw images until the accuracy is known to this width, such as 0.02.")
    ] = None,
    until_better_than: Annotated[
        str | None, typer.Option(help="Draw images until the run is better or worse than this one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order in which images are drawn.")] = 0,
    storage: Annotated[
        Storage | None, typer.Option(help="Outputs in the file, or as parts beside it; default table.")
    ] = None,
    scratch: Annotated[str | None, typer.Option(help="Folder or address of the parts; default DB.parts.")] = None,
    runner: Annotated[
        RunnerName, typer.Option(help="What computes; files only writes shards to --scratch, for `work`.")
    ] = RunnerName.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Of the runner; default as many as there are cores.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be done, and how long.")] = False,
    version: Annotated[str | None, typer.Option(help="Your name for a model that cannot be identified.")] = None,
    allow_random: Annotated[bool, typer.Option("--allow-random", help="Take answers that differ each time.")] = False,
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="Let the weights file run code.")] = False,
) -> None:
    """Run a model over the images, in committed blocks; after an interrupt the same command resumes."""
    what: dict[str, Any] = {"dataset": dataset, "where": where, "split": split}
    what |= {"policy": policy.value, "class_map": class_map}
    how: dict[str, Any] = {"batch_size": batch_size, "device": device, "dtype": dtype.value, "overwrite": overwrite}
    how |= {"version": version, "allow_random": allow_random}
    how |= {"until_width": until_width, "until_better_than": until_better_than, "seed": seed}
    how |= {"storage": None if storage is None else storage.value, "scratch": scratch}
    how |= {"runner": runner.value, "workers": workers}
    _say(f"predicting with {model}")
    with _open(db, create=False) as con:
        _check_before_torch(con, run, dataset, where, split, class_map, model, weights)
        names = _classes_of_dataset(con, dataset) if prompts and classes is None else _model_classes(con, classes)
        loaded = _load_model(
            model, weights, layer, names, trust_pickle, outputs=outputs, prompts=prompts, embedding=embedding
        )
        from .runs.predict import predict

        if dry_run:
            for name, value in vars(predict(con, loaded, run, **what, **how, dry_run=True)).items():
                _out(f"{name:18} {value:.1f}" if isinstance(value, float) else f"{name:18} {value}")
            return
        try:
            done = predict(con, loaded, run, **what, **how, retry_errors=retry_errors, strict=strict)
        except KeyboardInterrupt:
            _say("interrupted; what was committed stays, run the same command to resume")
            raise typer.Exit(130) from None
    if done.n_shards:
        _say(_describe_standing(done.run, done.n_images, done.n_ok, done.n_errors, done.n_shards))
        return
    _say(
        f"{done.run}: {done.n_images} images = {done.n_ok} ok + {done.n_errors} errors; {done.n_computed} computed "
        f"now, {done.images_per_second:.1f} images/s; "
        + (f"embeddings of {loaded.n_activations} numbers" if embedding else f"class policy {done.class_policy}")
    )
    if done.n_errors:
        _say(f"see them: sqlanalysis query {db} \"from errors where run = '{done.run}'\"")


def _describe_standing(run: str, n_images: int, n_ok: int, n_errors: int, n_shards: int) -> str:
    """How far a run is that others compute; images that no shard has are for a further `predict`."""
    left = n_images - n_ok - n_errors
    where = f", shards left: {n_shards}" if n_shards else ", which the same predict answers"
    return f"{run}: {n_images} images = {n_ok} ok + {n_errors} errors" + (f" + {left} pending{where}" if left else "")


def _check_before_torch(
    con: duckdb.DuckDBPyConnection,
    run: str | None,
    dataset: str | None,
    where: str | None,
    split: str | None,
    class_map: Path | None,
    model: str,
    weights: str,
) -> None:
    """Refuse what can be refused at once: loading torch takes seconds."""
    from .data.label_spaces import resolve_dataset
    from .models.loading.names import parse
    from .runs import job
    from .runs.run import check_name, known

    job.select(con, resolve_dataset(con, dataset)[0], where, split)
    if run is not None and run not in known(con):
        check_name(con, run)
    if model not in DEMO_MODELS:
        parse(model)
    # The name of weights has no dot, a file has; what follows # is a key in it.
    for file in (class_map, Path(weights) if Path(weights).suffix else None):
        if file is None or file.expanduser().is_file():
            continue
        if not Path(str(file).rpartition("#")[0]).expanduser().is_file():
            raise NotFoundError(f"no file {file}")


def _classes_of_dataset(con: duckdb.DuckDBPyConnection, dataset: str | None) -> Classes:
    """The classes of a data set, which fill the prompts.

    Raises:
        SchemaError: it has none.
    """
    from .data.label_spaces import read_classes, resolve_dataset

    name, space = resolve_dataset(con, dataset)
    if space is None:
        raise SchemaError(f"data set {name!r} has no classes to fill the prompts with; give them: classes=names.txt")
    return read_classes(con, space)


def _model_classes(con: duckdb.DuckDBPyConnection, classes: str | None) -> str | Classes | None:
    """The classes of a data set of that name; else the text, which is a file, a folder or a list that all know.

    Raises:
        SchemaError: a data set and a file or folder have this name, and different classes.
    """
    from .core.classes import load_classes
    from .data.label_spaces import read_classes

    spaces = dict(statements.fetch(con, "list_datasets")) if classes is not None else {}
    if classes is None or spaces.get(classes) is None:
        return classes if classes is None else load_classes(classes)
    stored = read_classes(con, spaces[classes])
    if Path(classes).exists():
        there = load_classes(classes)
        if there.names != stored.names:
            raise SchemaError(
                f"classes= {classes} is a data set and a path, whose classes differ: {', '.join(stored.names[:5])}, … "
                f"and {', '.join(there.names[:5])}, …; ./{classes} is the path"
            )
    return stored


def _load_model(
    name: str,
    weights: str,
    layer: str | None,
    classes: str | Classes | None,
    trust_pickle: bool = False,
    *,
    outputs: Outputs = Outputs.auto,
    prompts: list[str] | None = None,
    embedding: bool = False,
) -> Model:
    from .models.model import load_model

    if name in DEMO_MODELS and not prompts and not embedding:
        from .demo import networks

        for network in networks():
            if network.name == name:
                return network
    weights_file = None if weights == "random" else weights
    return load_model(
        name,
        weights_file,
        layer=layer,
        classes=classes,
        outputs=outputs.value,
        prompts=prompts,
        embedding=embedding,
        trust_pickle=trust_pickle,
    )


@app.command()
def find_neighbors(
    db: Database,
    run: Annotated[str, typer.Argument(help="A run with activations.")],
    k: Annotated[int, typer.Option(min=1, help="How many neighbors of each image.")] = 15,
) -> None:
    """Find the nearest images of every image, exactly; duplicates, leaks and outliers follow from them."""
    from .runs.run import require

    _say(f"finding the neighbors of {run}")
    with _open(db, create=False) as con:
        require(con, run)
        from .embeddings.neighbors import find_neighbors

        done = find_neighbors(con, run, k)
    how = f"found in {done.seconds:.1f} s" if done.computed else "already there"
    _say(f"{run}: {done.k} neighbors of {done.n_images} images {how}{_without(done.n_left_out)}")
    _say(f"see them: sqlanalysis metric {db} near_duplicates {run}_neighbors")


@app.command()
def find_images(
    db: Database,
    run: Annotated[str, typer.Argument(help="A run with activations.")],
    text: Annotated[str | None, typer.Option(help="What to look for; the run is of a CLIP or SigLIP.")] = None,
    image: Annotated[str | None, typer.Option(help="Or like which image: a file, or an image_id of the run.")] = None,
    max_rows: Annotated[int, typer.Option(min=1, help="How many images at most.")] = 10,
    model: Annotated[str | None, typer.Option(help="Its model, if it is no longer where the run says.")] = None,
    output: OutputFormat = Format.table,
) -> None:
    """List the images of a run that are most similar to a text or to an image."""
    from .embeddings.search import find_images

    known = image is not None and image.isdecimal() and not Path(image).exists()
    with _open_to_read(db) as con:
        asked: Any = int(image) if known and image is not None else image
        _show(find_images(con, run, text=text, image=asked, max_rows=max_rows, model=model), output)


@app.command()
def project(
    db: Database,
    run: Annotated[str, typer.Argument(help="A run with activations.")],
    method: Annotated[str, typer.Option(help="umap or pca.")] = "umap",
    seed: Annotated[int, typer.Option(help="Makes the map repeatable.")] = 0,
    n_neighbors: Annotated[int, typer.Option(min=2, help="UMAP: size of a neighborhood.")] = 15,
    min_dist: Annotated[float, typer.Option(min=0.0, help="UMAP: least distance of points.")] = 0.1,
) -> None:
    """Put the images of a run on a plane; x and y appear in its view."""
    from .runs.run import require

    _say(f"projecting {run}")
    with _open(db, create=False) as con:
        require(con, run)
        from .embeddings.projection import project

        done = project(con, run, method, seed=seed, n_neighbors=n_neighbors, min_dist=min_dist)
    _say(
        f"{run}: {done.n_images} images by {method}, trustworthiness {done.trustworthiness}, {done.seconds:.1f} s"
        f"{_without(done.n_left_out)}"
    )


def _without(n_left_out: int) -> str:
    return f"; {n_left_out} images are left out: no activation, or a zero one" if n_left_out else ""


@app.command()
def apply_labels(
    db: Database,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Reviewed labels, as a page exports them.")],
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Apply the rows that fit; by default all or none.")
    ] = False,
) -> None:
    """Apply labels that were reviewed on a page: all rows or none, with their history; figures follow."""
    from .data.reviews import apply_labels

    with _open(db, create=False) as con:
        done = apply_labels(con, path, skip_refused=skip_refused)
    refused = f" + {done.n_refused} refused" if done.n_refused else ""
    _say(
        f"{path}: {done.n_rows} rows = {done.n_changed} labels changed + {done.n_confirmed} confirmed + "
        f"{done.n_already} already applied{refused}"
    )
    if done.changes:
        listed = sorted(done.changes.items(), key=lambda change: -change[1])
        _say(f"changed: {', '.join(f'{change} ({n})' for change, n in listed[:6])}{', …' if len(listed) > 6 else ''}")


@app.command()
def measure_images(
    db: Database, dataset: Annotated[str | None, typer.Option(help="Data set; default all.")] = None
) -> None:
    """Measure what images look like, those not measured yet; after an interrupt the same command resumes."""
    from .data.statistics import measure_images

    with _open(db, create=False) as con:
        try:
            done = measure_images(con, dataset)
        except KeyboardInterrupt:
            _say("interrupted; what was committed stays, run the same command to resume")
            raise typer.Exit(130) from None
    _say(
        f"{done.n_images} images = {done.n_ok} measured + {done.n_errors} errors; {done.n_computed} decoded now, "
        f"{done.images_per_second:.1f} images/s"
    )
    if done.n_errors:
        _say(f'see them: sqlanalysis query {db} "from errors where run is null"')


@app.command()
def cluster(
    db: Database,
    run: Annotated[str, typer.Argument(help="A run with activations.")],
    k: Annotated[int | None, typer.Option(min=1, help="How many; default one per 50 images, 2 to 20.")] = None,
    seed: Annotated[int, typer.Option(help="Makes the clusters repeatable.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the clustering; the view shows the newest.")] = "kmeans",
) -> None:
    """Group the images of a run by their activations; `cluster` appears in its view."""
    from .embeddings.clustering import cluster

    with _open(db, create=False) as con:
        done = cluster(con, run, k, seed=seed, name=name)
    how = f"silhouette {done.silhouette}, {done.seconds:.1f} s"
    without = f"; {done.n_left_out} images have no finite activation" if done.n_left_out else ""
    _say(f"{run}: {done.k} clusters of {done.n_images} images, {how}{without}")


@app.command()
def ensemble(
    db: Database,
    members: Annotated[list[str], typer.Argument(metavar="MEMBER...", help="Two or more runs with probabilities.")],
    run: Annotated[str, typer.Argument(help="Name of the new run.")],
    weight: Annotated[list[float] | None, typer.Option(help="Of each member in turn; repeat. Default equal.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run of that name.")] = False,
) -> None:
    """Make a run of the mean of other runs' probabilities, as a view."""
    from .runs.derived import ensemble

    with _open(db, create=False) as con:
        done = ensemble(con, members, run, weights=weight, overwrite=overwrite)
    shares = ", ".join(f"{member.weight:.3g} {member.run}" for member in done.members)
    _say(f"{run} = {shares}: {done.n_images} images = {done.n_ok} ok + {done.n_errors} that a member lacks")


@app.command()
def temperature_scale(
    db: Database,
    source: Annotated[str, typer.Argument(help="A run with probabilities.")],
    run: Annotated[str, typer.Argument(help="Name of the new run.")],
    temperature: Annotated[float | None, typer.Option(help="Default fitted: the one with the least log loss.")] = None,
    fit_on: Annotated[str | None, typer.Option(help="SQL condition: the images to fit on; default all.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run of that name.")] = False,
) -> None:
    """Make a run of another one's probabilities at a temperature, as a view."""
    from .runs.derived import temperature_scale

    with _open(db, create=False) as con:
        done = temperature_scale(con, source, run, temperature=temperature, fit_on=fit_on, overwrite=overwrite)
    (member,) = done.members
    fitted = f", fitted where {member.fit_on}" if member.fit_on else ""
    _say(f"{run} = {source} at temperature {member.temperature:g}{fitted}: {done.n_images} images")


@app.command()
def add_column(
    db: Database,
    run: Annotated[str, typer.Argument(help="The run to add it to.")],
    name: Annotated[str, typer.Argument(help="Name of the new column.")],
    values: Annotated[str, typer.Argument(help="A table with the columns image_id and NAME.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier column of that name.")] = False,
) -> None:
    """Add a column of your own to a run."""
    from .runs.columns import add_column

    with _open(db, create=False) as con:
        done = add_column(con, run, name, values, overwrite=overwrite)
    _say(f"{run}: {name} {done.type}, {done.n_filled} of {done.n_images} images have a value")


@app.command()
def drop_run(db: Database, run: Annotated[str, typer.Argument(help="The run to delete.")]) -> None:
    """Delete a run: its outputs, errors and projections."""
    from .runs.run import drop_run

    with _open(db, create=False) as con:
        drop_run(con, run)
    _say(f"{run} is dropped")


@app.command()
def work(
    shard: Annotated[str, typer.Argument(help="The shard: a file, or an address.")],
    part: Annotated[
        str | None, typer.Option("--part", help="The part to write: a file, or an address; default beside the shard.")
    ] = None,
    trust_code: Annotated[bool, typer.Option(help="Run code that the shard names; only for your own shards.")] = False,
) -> None:
    """Compute a shard and write its outputs as a part; needs no database, so any scheduler can start it anywhere."""
    from .runs.exchange import part_of
    from .runs.work import work

    part = part or part_of(shard)
    is_new = work(shard, part, trusted=trust_code)
    _say(f"{part} {'is written' if is_new else 'was there already'}")


@app.command()
def commit(
    db: Database,
    scratch: Annotated[str, typer.Argument(help="The folder with the parts, or one above it; or an address.")],
) -> None:
    """Commit the parts that workers have written, also while some still write; closes a run that has all of them."""
    from .runs.scratch import commit_folder

    with _open(db, create=False) as con:
        done = commit_folder(con, scratch)
    for path, reason in done.refused.items():
        _say(f"refused: {path}: {reason}", always=True)
    for far in done.runs:
        said = _describe_standing(far.run, far.n_images, far.n_ok, far.n_errors, far.n_shards)
        _say(f"{said}; {far.status}" if far.n_images == far.n_ok + far.n_errors else said)
    _say(f"parts: {done.n_committed} committed now, {done.n_known} before, {len(done.refused)} refused")
    if done.refused:
        raise typer.Exit(1)


@app.command()
def localize(db: Database, run: Annotated[str, typer.Argument(help="A run whose outputs are parts.")]) -> None:
    """Bring the outputs of a run from its parts into the file, and delete the parts beside it."""
    from .runs.parts import localize

    with _open(db, create=False) as con:
        done = localize(con, run)
    how = f"from {done.n_parts} parts" if done.n_parts else "already"
    _say(f"{run}: {done.n_ok} outputs are in the file {how}")


@app.command()
def export(
    db: Database,
    run: Annotated[str, typer.Argument(help="The run to take out.")],
    path: Annotated[Path, typer.Argument(help="Where to; the ending chooses the format.")],
    to: Annotated[
        str | None, typer.Option(help="parquet, csv, hf, fiftyone, atlas or model-index; default by the ending.")
    ] = None,
    images: Annotated[str, typer.Option(help="path, bytes or none.")] = "path",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a run for other tools: Parquet, CSV, Hugging Face, FiftyOne, Embedding Atlas, a model card."""
    from .runs.export import export

    with _open_to_read(db) as con:
        done = export(con, run, path, to, images=images, overwrite=overwrite)
    _say(f"{done.path} is written: {done.n_images} images as {done.to}")


@app.command()
def metric(
    db: Database,
    name: Annotated[str, typer.Argument(help="A metric of `list-metrics`.")],
    relation: Annotated[
        str, typer.Argument(help='A run, view, table or Parquet file, or several: a,b or \'["a", "b"]\'.')
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VALUE|KEY=VALUE]...", help="Its parameters in order, or by name, such as level=0.9."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only rows whose column `split` says so.")] = None,
    where: Annotated[str | None, typer.Option(help="Only rows for which this SQL is true.")] = None,
    output: OutputFormat = Format.table,
) -> None:
    """Compute one metric over one relation, or over each of a list."""
    from .evaluation.metrics import metric, name_arguments, selection

    given = _listed(relation)
    named = [text.partition("=") for text in values or [] if _KEY_VALUE.match(text)]
    ordered = [text for text in values or [] if not _KEY_VALUE.match(text)]
    with _open_to_read(db, relation, *(values or [])) as con:
        texts = {key: value for key, _, value in named} | name_arguments(con, name, ordered, {key for key, *_ in named})
        rows = given if split is None and where is None else selection(con, given, split, where)
        _show(metric(con, name, rows, **{key: _value(key, str(text)) for key, text in texts.items()}), output)


def _pairs(texts: list[str] | None) -> dict[str, str] | None:
    """`--columns label=species` as a mapping."""
    pairs = {}
    for text in texts or []:
        role, _, column = text.partition("=")
        if not role or not column:
            raise typer.BadParameter(f"{text!r} is not ROLE=COLUMN, such as label=species", param_hint="--columns")
        pairs[role] = column
    return pairs or None


# `width_px >= 256` is an argument without a name, `level=0.9` has one.
_KEY_VALUE = re.compile(r"[a-z_]\w*=(?!=)", re.I)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _listed(text: str) -> Any:
    """One relation, or a list of them: JSON or `a,b`; the name of a file may have a comma."""
    if text.startswith("["):
        return _decoded(text)
    return text.split(",") if "," in text and not Path(text).exists() else text


def _value(key: str, text: str) -> Any:
    """The value of a parameter: numbers and lists are JSON; what is SQL stays text."""
    if key in ("baseline", "baselines"):
        return _listed(text)
    decoded = _decoded(text)
    return text if key in ("expr", "weight", "is_right", "groups") and not isinstance(decoded, list) else decoded


@app.command()
def list_metrics(
    db: Annotated[
        Path | None, typer.Argument(metavar="[DB]", help="An evaluation file, for your own metrics too.")
    ] = None,
    output: OutputFormat = Format.table,
) -> None:
    """List every metric with its parameters and what it measures; needs no file."""
    from .evaluation.metrics import list_metrics

    if db is None:
        _show(list_metrics(), output)
        return
    with _open_to_read(db) as con:
        _show(list_metrics(con), output)


@app.command()
def compare(
    db: Database,
    run: Annotated[str, typer.Argument(help="The run in question.")],
    baseline: Annotated[str, typer.Argument(help="The run to beat.")],
    force: Annotated[bool, typer.Option("--force", help="Compare the images that both have, regardless.")] = False,
    level: Annotated[float, typer.Option(help="Level of the intervals and of the sentence.")] = 0.95,
    groups: Groups = None,
    output: OutputFormat = Format.table,
) -> None:
    """Say in one sentence whether a run is better than another, then by what and where."""
    from .evaluation.comparison import compare

    with _open_to_read(db) as con:
        _show_comparison(compare(con, run, baseline, level=level, force=force, groups=groups), output)


def _show_comparison(found: Comparison, output: Format) -> None:
    tables = {name: getattr(found, name) for name in ("scores", "mcnemar", "agreement", "classes", "flips")}
    if output is Format.json:
        print(_data(_json(vars(found) | {name: _named(table) for name, table in tables.items()})))  # noqa: T201
        return
    mark = "# " if output is Format.csv else ""
    _out(f"{mark}{found.sentence}\n{mark}diff = {found.run} - {found.baseline}")
    for name, table in tables.items():
        n = len(table) if output is Format.table else 0
        _out(f"\n{mark}{name}" + (f", the first {SHOWN_ROWS} of {n} rows" if n > SHOWN_ROWS else ""))
        _show(table.limit(SHOWN_ROWS) if n > SHOWN_ROWS else table, output)


@app.command()
def check(
    db: Database,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="Queries whose rows are violations, or folders.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="The run to check; default the newest finished one.")] = None,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="To be reached by the lower end of the 95 % interval.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="A run that this one must not be worse than.")] = None,
    allow_drop: Annotated[float, typer.Option(min=0, max=1, help="Accuracy that may be lost against it.")] = 0.0,
    max_drop: Annotated[
        float | None, typer.Option(min=0, max=1, help="Largest loss still allowed: the interval must stay above it.")
    ] = None,
    max_errors: Annotated[
        float | None, typer.Option(min=0, help="Images that may have failed: a share below 1, or a count.")
    ] = None,
    max_ece: Annotated[float | None, typer.Option(min=0, max=1, help="Largest calibration error.")] = None,
    groups: Groups = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the results as JUnit XML.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Annotate the job, and append to the summary of $GITHUB_STEP_SUMMARY.")
    ] = False,
) -> None:
    """Check a run against expectations, for CI: exit 1 when one fails."""
    from .evaluation.checks import check
    from .evaluation.github import annotate, summary
    from .evaluation.junit import describe_rows

    for given, option in ((allow_drop, "--allow-drop"), (max_drop is not None, "--max-drop")):
        if given and baseline is None:
            raise typer.BadParameter("needs --baseline", param_hint=option)
    with _open_to_read(db) as con:
        checked = check(
            con, files or (), run=run, min_accuracy=min_accuracy, baseline=baseline, allow_drop=allow_drop,
            max_drop=max_drop, max_errors=max_errors, max_ece=max_ece, junit=junit, groups=groups,
            github=(os.environ.get("GITHUB_STEP_SUMMARY") or None) if github else None,
        )  # fmt: skip
    if github:
        # GitHub reads commands from the lines of the output.
        _out("\n".join(annotate(checked.results)))
    _say(f"run {checked.run!r}{'' if run else ', the newest finished one'}" if checked.run else "no run yet")
    wide = max(len(one.name) for one in checked.results)
    _out(f"{'expectation':{wide}}  status  violations  message")
    for one in checked.results:
        n = "" if one.n_violations is None else f"{one.n_violations:,}"
        _out(f"{one.name:{wide}}  {one.status:6}  {n:>10}  {one.message}")
    for one in checked.results:
        lines = describe_rows(one)
        if lines:
            _out("\n  ".join([f"\n{one.name}: {one.meaning}", *lines]))
    if github and not os.environ.get("GITHUB_STEP_SUMMARY"):
        _out("\n" + summary(checked.run, checked.results))
    statuses = [one.status for one in checked.results]
    bad, warned = len([s for s in statuses if s in ("fail", "error")]), statuses.count("warn")
    _say(f"{bad} of {len(statuses)} expectations failed, {warned} warned")
    if not checked.passed:
        raise typer.Exit(1)


@app.command()
def report(
    db: Database,
    out: Annotated[Path, typer.Argument(metavar="OUT.html", help="The page to write.")],
    run: Annotated[list[str] | None, typer.Option(help="A run to show; repeat for several, the subject first.")] = None,
    split: Annotated[str | None, typer.Option(help="Count only images of this split.")] = None,
    max_mb: Annotated[float, typer.Option(help="Largest page; thumbnails fill what the rows leave.")] = 25,
    redact_paths: Annotated[bool, typer.Option("--redact-paths", help="Name no file of an image.")] = False,
    full_images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder beside the page for pictures of up to 1,024 pixels.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", help='SQL that cuts the images, such as "brightness < 0.2"; repeat for several.'),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Write one self-contained HTML page."""
    from .page.report import report

    with _open_to_read(db) as con:
        page = report(
            con,
            out,
            runs=run,
            split=split,
            max_mb=max_mb,
            redact_paths=redact_paths,
            full_images=full_images,
            slices=slices or (),
            open=open_,
        )
    _say(f"{page} is written")


@app.command()
def render_sql(name: Annotated[str, typer.Argument(help="A metric, view, table or other SQL file.")]) -> None:
    """Print the text of one SQL file as it is sent to DuckDB."""
    from .db.templates import render_sql

    _out(render_sql(name))


@app.command()
def query(
    db: Database,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement; a model is called as resnet18(image).")],
    weights: Annotated[str | None, typer.Option(help="Weights of a model the statement calls.")] = None,
    layer: Layer = None,
    classes: ModelClasses = None,
    safe: Annotated[
        bool, typer.Option("--safe", help="Read only; no other file, network, extension or model.")
    ] = False,
    output: OutputFormat = Format.table,
) -> None:
    """Run SQL with every function of this package, and models by name."""
    writable = os.access(db, os.W_OK) or not db.exists()
    with _open(db, create=False, read_only=safe or not writable, safe=safe) as con:
        if not safe:
            _register_models(con, sql, weights, layer, classes)
        relation = statements.relation(con, sql)
        if relation is not None:
            _show(relation, output)


def _register_models(
    con: duckdb.DuckDBPyConnection, sql: str, weights: str | None, layer: str | None, classes: str | None
) -> None:
    """Register the models that a statement calls, with the weights given, else of their newest run, else DEFAULT."""
    called = sorted(set(re.findall(r"\b([a-z][a-z0-9_]*)\s*\(", sql)))
    unknown = [row[0] for row in statements.fetch(con, "list_unknown_functions", [called])]
    if not unknown:
        return
    from .data.label_spaces import read_classes
    from .models.loading.torchvision import known_models
    from .runs.predict import register_model

    earlier = {name: found for name, *found in statements.fetch(con, "list_model_weights")}
    # A run of timm or Hugging Face records the address of its model, which runs no code of the file's owner.
    addresses: dict[str, str] = {
        name: used for name, (used, *_) in earlier.items() if str(used).startswith(("timm/", "hf/"))
    }
    for name in set(unknown) & {*known_models(), *DEMO_MODELS, *addresses}:
        used, space, outputs, prompts = earlier.get(name, (None,) * 4) if weights is None else (None,) * 4
        model = addresses.get(name, name) if weights is None else name
        used = None if name in addresses else used
        names = read_classes(con, space) if space and classes is None else _model_classes(con, classes)
        loaded = _load_model(
            model,
            weights or used or "DEFAULT",
            layer,
            names,
            prompts=json.loads(prompts) if prompts else None,
            embedding=outputs == "embedding",
        )
        register_model(con, loaded, name=name)


@app.command()
def verify(db: Database) -> None:
    """Compare every image with its stored hash, and the tables with each other; exit 1 when something differs."""
    from .db.recovery import verify

    with _open_to_read(db) as con:
        done = verify(con)
    for image_id, uri, problem in done.images:
        _out(f"image {image_id}, {uri}: {problem}")
    for problem, thing, n in done.tables:
        _out(f"{problem}: {thing} ({n})")
    _say(f"{done.n_images} images read; {len(done.images)} differ, {len(done.tables)} problems of tables")
    if not done.ok:
        raise typer.Exit(1)


@app.command()
def copy(
    db: Database,
    to: Annotated[Path, typer.Argument(metavar="TO", help="The file to write, or a folder.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the evaluation file that is there.")] = False,
) -> None:
    """Copy the file with all that is committed, also while another process writes to it; prints runs and images."""
    from .db.copying import copy_file

    done = copy_file(db, to, overwrite=overwrite)
    _out(f"{done.n_runs} {done.n_images}")
    _say(f"{done.path} is written: {done.n_bytes / 1e6:.1f} MB, {done.n_runs} runs, {done.n_images} images")


@app.command()
def recover(db: Database) -> None:
    """Make a file open again that a crash has damaged; nothing is deleted. Names the runs to resume."""
    from .db.recovery import recover

    done = recover(db)
    if done.log:
        _say(f"the damaged log is now {done.log}")
    for block in done.blocks:
        _say(f"a block of an interrupted checkpoint is repaired; the original is now {block}")
    if not done.log and not done.blocks:
        _say(f"{done.path} opens; nothing had to be done")
    if done.incomplete:
        _say(f"incomplete runs, run them again to resume: {', '.join(done.incomplete)}")


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to put demo.duckdb and report.html.")] = Path(
        "demo"
    ),
) -> None:
    """Evaluate two small networks on scanned digits, end to end, without network."""
    _say("demo: two networks on scanned digits")
    from .demo import demo

    done = demo(folder, say=_say)
    for run, (n, accuracy, low, high) in done.accuracies.items():
        _out(f"{run:<12} accuracy {accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%} (n = {n})")
    shell = f"duckdb {shlex.quote(str(done.database))}"
    _out(f"\nfile  {done.database}\npage  {done.page}\n\ntry, in the DuckDB shell (`{shell}`):")
    first = next(iter(done.accuracies))
    _out(f"  from accuracy('{first}');")
    _out("  from accuracy_by('predictions', (run, label));")
    _out(f"  from {first} where not correct order by confidence desc limit 5;")


def _show(relation: duckdb.DuckDBPyRelation, output: Format) -> None:
    if output is Format.table:
        wide = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        rounded = relation.query("_shown", _rounded(relation))
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            (relation if rounded is None else rounded).show(max_width=wide, max_rows=1000, max_col_width=80)
        _out(printed.getvalue().rstrip("\n"))
        return
    if output is Format.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(map(_data, relation.columns))
        writer.writerows([_data(csv_cell(value)) for value in row] for row in relation.fetchall())
    else:
        print(_data(_json(_named(relation))))  # noqa: T201


def _rounded(relation: duckdb.DuckDBPyRelation) -> str:
    """A query of the relation `_shown` in which floats keep the digits that people read; CSV and JSON keep all."""
    dtypes = [str(dtype) for dtype in relation.types]
    names = [name for name, dtype in zip(relation.columns, dtypes, strict=True) if dtype in ("FLOAT", "DOUBLE")]
    return templates.render("rounded", names=names)


def _named(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, indent=1)
