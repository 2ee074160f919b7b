"""What the name of a model means; needs no torch, so a wrong name fails at once."""

from __future__ import annotations

import json
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import ArgumentError, MissingExtraError, NotFoundError, near_matches

WEIGHTS_SUFFIXES = (".pth", ".pt", ".ts", ".ckpt", ".bin", ".safetensors", ".pkl", ".tar", ".torchscript", ".jit")
_PACKAGES = {"timm": ("timm", "timm"), "hf": ("transformers", "hf"), "onnx": ("onnxruntime", "onnx")}
_KINDS = "a name of torchvision, timm/NAME, hf/NAME, a folder, a .pt2, .pt or .onnx file, file.py:make, or package:make"


class Source(NamedTuple):
    """Where a model is.

    Attributes:
        kind: torchvision, timm, hf, pt2, torchscript, onnx, checkpoint (weights without an architecture) or code.
        name: of the model; of a file or folder, its path.
        attribute: for code, what makes the model.
    """

    kind: str
    name: str
    attribute: str = ""


def parse(model: str) -> Source:
    """Say where the model of that name is, and that it can be there.

    Raises:
        ArgumentError: an empty name.
        NotFoundError: no such file, folder or module, or no such model of torchvision or timm.
        MissingExtraError: the package that reads it is not installed.
    """
    if not model.strip():
        raise ArgumentError(f"an empty name of a model; give {_KINDS}")
    source = _parse(model)
    if source.kind in _PACKAGES:
        package, extra = _PACKAGES[source.kind]
        if find_spec(package) is None:
            raise MissingExtraError(f"{model} needs {package}: pip install sqlanalysis[{extra}]")
    if source.kind == "timm" and "/" not in source.name and not Path(source.name).is_dir():
        _require(source.name.partition(".")[0], "timm")
    if source.kind == "torchvision":
        _require(source.name, "torchvision")
    return source


def _parse(model: str) -> Source:
    for prefix in ("timm", "hf"):
        if model.startswith(f"{prefix}/"):
            return Source(prefix, _folder_or_name(model.removeprefix(f"{prefix}/"), model))
    path, colon, attribute = model.rpartition(":")
    if colon and all(part.isidentifier() for part in attribute.split(".")):
        if path.endswith(".py"):
            return Source("code", str(_file(path)), attribute)
        if all(part.isidentifier() for part in path.split(".")):
            return Source("code", path, attribute)
    file = Path(model).expanduser()
    suffix = file.suffix.lower()
    if suffix in (".pt2", ".onnx"):
        return Source(suffix[1:], str(_file(model)))
    if suffix in WEIGHTS_SUFFIXES:
        return Source("torchscript" if _is_torchscript(_file(model)) else "checkpoint", str(file))
    if suffix == ".py":
        raise ArgumentError(f"{model} is a file of code; say what in it makes the model, such as {model}:make_model")
    if file.is_dir():
        return Source(_kind_of_folder(file), str(file))
    if not re.fullmatch(r"\w+", model):
        raise NotFoundError(f"no model {model!r}; give {_KINDS}")
    return Source("torchvision", model)


def _file(text: str) -> Path:
    file = Path(text).expanduser()
    if not file.is_file():
        raise NotFoundError(f"no file {text}")
    return file


def _folder_or_name(text: str, model: str) -> str:
    folder = Path(text).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise NotFoundError(f"{folder} has no config.json, so it is not the folder of a model")
        return str(folder)
    if not text or text.startswith((".", "/", "~")):
        raise NotFoundError(f"no folder {text or model}")
    return text


def _kind_of_folder(folder: Path) -> str:
    settings = read_config(folder)
    if settings is None:
        raise NotFoundError(f"{folder} has no config.json, so it is not the folder of a model; give {_KINDS}")
    return "timm" if is_timm_config(settings) else "hf"


def read_config(folder: Path, file: str = "config.json") -> dict[str, Any] | None:
    """A settings file of a folder; None where there is none, or it holds something else."""
    try:
        settings = json.loads((folder / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None


def is_timm_config(settings: dict[str, Any]) -> bool:
    """Whether timm wrote these settings; Hugging Face's have a `model_type`."""
    return "architecture" in settings and "model_type" not in settings


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def registered(package: str) -> set[str]:
    """Names of the models of torchvision or timm, read from its source: importing it takes seconds.

    Both register the functions that make models with a decorator. Empty if the source cannot be read so.
    """
    spec = find_spec(package)
    folder = Path(spec.origin).parent / "models" if spec and spec.origin else Path()
    pattern = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    try:
        return {name for file in folder.glob("*.py") for name in pattern.findall(file.read_text(encoding="utf-8"))}
    except OSError:
        return set()


def _require(name: str, package: str) -> None:
    known = registered(package)
    if not known or name in known:
        return
    elsewhere = ""
    if package == "torchvision" and find_spec("timm") is not None and name in registered("timm"):
        elsewhere = f"; timm has it: timm/{name}"
    raise NotFoundError(f"no model {name!r} in {package}{elsewhere or near_matches(name, known)}")


def sql_name(text: str) -> str:
    """An identifier for a model: lower-case letters, digits and `_`."""
    plain = re.sub(r"\W+", "_", text.lower(), flags=re.ASCII).strip("_")
    return plain if re.match(r"[a-z]", plain) else f"model_{plain}".rstrip("_")
