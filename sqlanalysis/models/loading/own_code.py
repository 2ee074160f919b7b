"""Your own code: a module or callable from Python, `file.py:make`, `package.module:make`, a pickled module."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ...core.classes import Classes, load_classes
from ...core.text import first_line
from ...errors import ArgumentError, InferenceError, NotFoundError, SQLAnalysisError, near_matches
from .. import content, isolation
from . import checkpoint, preprocessing
from .found import Found
from .names import sql_name


class Function(nn.Module):
    """A callable as a module: maps (B, C, H, W) to outputs."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, batch: Tensor) -> Any:
        """What the callable gives."""
        return self.function(batch)


def from_python(model: Any, weights: str | Path | None, trust_pickle: bool) -> Found:
    """A module or a callable that the caller has; weights may come from a file.

    Raises:
        ArgumentError: not a model, or weights that only a name has.
        NotFoundError, InferenceError: as `load_state`.
    """
    if isinstance(model, type):
        raise ArgumentError(f"model {model.__name__} is a class; give an instance, such as {model.__name__}()")
    if not callable(model):
        raise ArgumentError(f"model must be a name, a module or a callable, not {type(model).__name__}")
    keeps = weights is None or str(weights) == "DEFAULT"
    if not isinstance(model, nn.Module):
        found = Found(Function(model), sql_name(getattr(model, "__name__", type(model).__name__)), "module")
    elif keeps:
        found = Found(model, sql_name(type(model).__name__), "module")
    else:
        frozen = isolation.freeze(model)  # the caller's module keeps its weights
        if not frozen.can_copy:
            raise InferenceError(f"{frozen.notes[0]}; load weights= into it before load_model")
        found = Found(frozen.module, sql_name(type(model).__name__), "module")
    return found if keeps or weights is None else _with_weights(found, weights, trust_pickle)


def from_code(
    path: str, attribute: str, weights: str | Path | None, transform_given: bool, trust_pickle: bool
) -> Found:
    """What a file or module of Python makes: a module, or (module, transform, classes).

    Args:
        path: a `.py` file, or the dotted name of a module.
        attribute: a function or class that is called without arguments, or a module itself.
        weights: a file; "DEFAULT" and None keep those that the code gives.
        transform_given: the caller gives a transform.
        trust_pickle: let the weights file run code.

    Raises:
        NotFoundError: nothing of that name.
        InferenceError: the code raises, needs arguments, or makes something else.
    """
    where = f"{path}:{attribute}"
    target: Any = _import(path)
    for part in attribute.split("."):
        if not hasattr(target, part):
            known = [name for name, value in vars(target).items() if callable(value) and not name.startswith("_")]
            raise NotFoundError(f"no {part!r} in {path}{near_matches(part, known)}")
        target = getattr(target, part)
    module, transform, classes = _parts(where, target if isinstance(target, nn.Module) else _call(where, target))
    found = Found(
        module,
        # A class says what the model is; a function such as `make` does not.
        sql_name(
            attribute if attribute[0].isupper() else path.removesuffix(".py").replace("/", ".").rpartition(".")[2]
        ),
        where,
        transform,
        classes,
        transform_source=where,
        classes_source=where if classes else "numbered",
    )
    if weights is not None and str(weights) != "DEFAULT":
        found = _with_weights(found, weights, trust_pickle)
    if transform is not None or transform_given:
        return found
    file = None if found.weights == where else Path(found.weights)
    own = preprocessing.beside(file) if file else None
    if own:
        return preprocessing.replace(found, transform=own[0], transform_source=own[1])
    assumed, source, note = preprocessing.assume(where)
    return preprocessing.replace(found, transform=assumed, transform_source=source, notes=(*found.notes, note))


def from_pickle(file: Path, transform_given: bool, trust_pickle: bool) -> Found:
    """A whole module that was pickled, which runs code of the file; a file of mere weights is refused.

    Raises:
        InferenceError: it holds no module, or `trust_pickle` is not given.
    """
    opened = checkpoint.open_checkpoint(file, trust_pickle)
    inside = opened.content
    if isinstance(inside, dict) and isinstance(inside.get("model"), nn.Module):
        inside = inside["model"]
    if not isinstance(inside, nn.Module):
        architecture = opened.architecture()
        says = f", which says that it is of {architecture!r}" if architecture else ""
        example = architecture if architecture and architecture.isidentifier() else "resnet18"
        raise InferenceError(
            f"{file} is a file of weights{says}: the model is its architecture, such as {example}, timm/{example}, or "
            f"train.py:make, and the file is given as weights={file}"
        )
    found = Found(inside.float(), sql_name(type(inside).__name__), str(file))
    if transform_given:
        return found
    own = preprocessing.beside(file)
    if own:
        return preprocessing.replace(found, transform=own[0], transform_source=own[1])
    assumed, source, note = preprocessing.assume(file.name)
    return preprocessing.replace(found, transform=assumed, transform_source=source, notes=(note,))


def _with_weights(found: Found, weights: str | Path, trust_pickle: bool) -> Found:
    chosen = checkpoint.load_state(found.module, weights, trust_pickle)
    file = checkpoint.split_key(weights)[0]
    return preprocessing.replace(
        found, weights=str(file), weights_key=chosen.label or None, notes=(*found.notes, *chosen.notes)
    )


def _import(path: str) -> ModuleType:
    """Import a file or a module; imports of the file find what lies beside it, as when Python runs it."""
    folder = str(Path(path).resolve().parent if path.endswith(".py") else Path.cwd())
    start = Path(path).stem if path.endswith(".py") else path.partition(".")[0]
    _refuse_other_files(Path(folder), start, is_asked=not path.endswith(".py"))
    sys.path.insert(0, folder)
    try:
        return _import_file(Path(path).resolve()) if path.endswith(".py") else importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise NotFoundError(f"no module {error.name!r}; it is looked for in the current folder, too") from error
        raise InferenceError(f"{path} needs {error.name!r}, which is not installed or not beside it") from error
    except SQLAnalysisError:
        raise
    except (Exception, SystemExit) as error:
        raise InferenceError(f"importing {path} raises {type(error).__name__}: {first_line(error)}") from error
    finally:
        # What the code imports later, in its forward pass, is still found, but after every installed package.
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _refuse_other_files(folder: Path, start: str, *, is_asked: bool) -> None:
    """Refuse code that would get a file of another folder: Python keeps one module of a name, the first one loaded.

    Args:
        folder: where the code lies.
        start: name of the module that is loaded.
        is_asked: whether it is imported by this name; a file is loaded from its path.

    Raises:
        InferenceError: this process has another file under the name of one that lies beside the code.
    """
    seen, names = set[str](), [start]
    while names:
        name = names.pop()
        file = next((path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.is_file()), None)
        if file is None or name in seen:
            continue
        seen.add(name)
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if (name != start or is_asked) and loaded is not None and Path(loaded).resolve() != file.resolve():
            raise InferenceError(
                f"{file} is meant, but this process has loaded {loaded} under the name {name}, and would run that: "
                "load this model in a process of its own, or rename the file"
            )
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):  # importing it says so
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [each.name.partition(".")[0] for each in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.append(node.module.partition(".")[0])


def _import_file(file: Path) -> ModuleType:
    # Under its own name, by which its pickles and dataclasses find it, unless that is another module's. Descriptions
    # have the name of the file in any case: another process may have loaded nothing else of that name.
    loaded, stem = sys.modules.get(file.stem), file.stem
    is_free = loaded is None or getattr(loaded, "__file__", None) == str(file)  # it may have changed: executed again
    name = stem if is_free and stem.isidentifier() and stem not in sys.stdlib_module_names else content.alias(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise InferenceError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _call(where: str, target: Any) -> Any:
    if not callable(target):
        raise InferenceError(
            f"{where} is a {type(target).__name__}; name a module, or a function or class that makes one"
        )
    try:
        needed = [
            parameter.name
            for parameter in inspect.signature(target).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
    except ValueError:  # built in C, without a signature
        needed = []
    if needed:
        raise InferenceError(
            f"{where} needs {', '.join(needed)}; name a function without arguments that makes the model, such as "
            f"def make(): return {where.rpartition(':')[2]}({needed[0]}=…)"
        )
    try:
        return target()
    except Exception as error:
        raise InferenceError(f"{where}() raises {type(error).__name__}: {first_line(error)}") from error


def _parts(where: str, made: Any) -> tuple[nn.Module, Any, Classes | None]:
    module, transform, classes = made, None, None
    if isinstance(made, tuple) and 1 <= len(made) <= 3:
        module, transform, classes = (*made, None, None)[:3]
    if not isinstance(module, nn.Module):
        raise InferenceError(
            f"{where} makes a {type(made).__name__}; make a torch module, or (module, transform, classes)"
        )
    if transform is not None and not callable(transform):
        raise InferenceError(f"{where}: its transform is a {type(transform).__name__}, not a function of a picture")
    return module, transform, None if classes is None else load_classes(classes)
