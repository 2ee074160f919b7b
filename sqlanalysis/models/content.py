"""What a Python object is made of: one walk for two questions, is it the same, and who else holds it.

`fingerprint` hashes content: tensors and arrays by value, functions by their code with defaults, closures and globals,
bound methods and partials by their parts, modules by weights and attributes, other objects as pickle would. Code of
installed packages counts by its name. `reach` lists the objects themselves, so that two copies can be compared.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import logging
import os
import pathlib
import re
import sys
import sysconfig
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import InferenceError

Part = tuple[str, Any]  # name, value
_PLAIN: tuple[type, ...] = (
    *(type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range, slice, enum.Enum),
    *(torch.dtype, torch.device, torch.Size, torch.memory_format, torch.layout, np.dtype, np.generic),
)
_BY_NAME: tuple[type, ...] = (
    *(types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.ModuleType, np.ufunc),
)
# Hold no content of their own.
_EMPTY = (type(threading.Lock()), type(threading.RLock()), threading.local, threading.Thread, logging.Logger)
KNOWN_BY_NAME = (*_BY_NAME, *_EMPTY)
# What runs, and changes only where somebody assigns to it.
CODE = (type, types.FunctionType, types.MethodType, functools.partial, staticmethod, classmethod, property)
_CLASS_NOISE = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__"}
_CLASS_NOISE |= {
    "__abstractmethods__",
    "_abc_impl",
    "__static_attributes__",
    "__annotate_func__",
    "__annotations_cache__",
}
# Of an nn.Module: the state dict is hashed by itself; names that start so are torch's bookkeeping.
_MODULE_NOISE = (
    *("_parameters", "_buffers", "_modules", "_backward", "_is_full", "_non_persistent", "_state_dict", "training"),
    *("_load_state", "_version", "_is_hf_initialized", "_compiled_call_impl"),
)
HEAP_TYPE = 1 << 9  # in __flags__: made by a class statement, not in C
MAX_PARTS = 200_000  # objects of one walk


def alias(file: pathlib.Path) -> str:
    """The name of a module of own code whose file's name another module has; `plain` gives that of the file."""
    return f"{file.stem.replace('.', '_')}@{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"


def plain(text: str) -> str:
    """A text with names of modules, such as a repr, as it is in a process where no module is an `alias`."""
    return re.sub(r"@[0-9a-f]{16}(?=\.)", "", text)


@functools.lru_cache(maxsize=4096)
def _of_package(name: str | None) -> bool:
    """Whether code of this module belongs to Python or an installed package, and so is known by its name."""
    if name is None or name in ("__main__", "__mp_main__"):
        return False
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    folders = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return file is not None and any(pathlib.Path(file).is_relative_to(folder) for folder in folders)


def is_own(value: Any) -> bool:
    """Whether a function, class or object was written by the user, not by an installed package."""
    named = value if isinstance(value, type | types.FunctionType) else type(value)
    name = getattr(named, "__module__", None)
    if name == "builtins":  # is also the module of a class that `exec` makes without a __name__
        return isinstance(named, type) and bool(named.__flags__ & HEAP_TYPE)
    return not _of_package(name)


def _code_parts(function: types.FunctionType) -> Iterator[Part]:
    """Defaults, closed-over values and globals of a function."""
    yield "defaults", function.__defaults__
    yield "keyword defaults", function.__kwdefaults__
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a name that is not assigned yet
            yield name, None
    known = function.__globals__
    names = dict.fromkeys(_globals_of(function.__code__))
    for name in names:
        if name not in known:
            continue
        yield name, known[name]
        # `settings.FACTOR` of a module of one's own
        if isinstance(known[name], types.ModuleType) and not _of_package(known[name].__name__):
            held = vars(known[name])
            yield from ((f"{name}.{inner}", held[inner]) for inner in function.__code__.co_names if inner in held)
    yield from vars(function).items()


def _globals_of(code: types.CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_of(constant)


def _code(code: types.CodeType) -> tuple[Any, ...]:
    inner = tuple(_code(value) if isinstance(value, types.CodeType) else value for value in code.co_consts)
    return (code.co_code, inner, code.co_names, code.co_varnames, code.co_freevars)


def _attributes(value: Any) -> Iterator[Part]:
    """What an object keeps in `__dict__` and `__slots__`."""
    yield from getattr(value, "__dict__", {}).items()
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def parts(value: Any) -> Iterable[Part]:
    """The objects that an object holds, by name; nothing for those that are known by their name or value alone."""
    if isinstance(value, _PLAIN + _BY_NAME + _EMPTY + (Tensor, np.ndarray)):
        return (
            list(_attributes(value)) if isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter) else ()
        )
    if isinstance(value, types.FunctionType):
        return list(_code_parts(value)) if is_own(value) else ()
    if isinstance(value, types.MethodType):
        return (("function", value.__func__), ("self", value.__self__))
    if isinstance(value, functools._lru_cache_wrapper):
        return (("function", value.__wrapped__),)
    if isinstance(value, functools.partial):
        return (("func", value.func), ("args", value.args), ("keywords", value.keywords), *vars(value).items())
    if isinstance(value, staticmethod | classmethod):
        return (("function", value.__func__),)
    if isinstance(value, property):
        return (("get", value.fget), ("set", value.fset))
    if isinstance(value, type):
        if not is_own(value):
            return ()
        held = [(name, part) for name, part in vars(value).items() if name not in _CLASS_NOISE]
        return [*held, *((base.__qualname__, base) for base in value.__bases__)]
    if isinstance(value, dict):
        return [(f"[{_short(key)}]", part) for key, part in list(value.items())]
    if isinstance(value, list | tuple | deque | set | frozenset):
        return [(f"[{index}]", part) for index, part in enumerate(list(value))]
    return [("class", type(value)), *_attributes(value)]


def _short(key: Any) -> str:
    return repr(key)[:40] if isinstance(key, str | int) else type(key).__name__


def reach(value: Any) -> dict[int, Any]:
    """Every object that can be reached from this one, by id; stops after `MAX_PARTS` objects."""
    seen: dict[int, Any] = {}
    waiting = [value]
    while waiting and len(seen) < MAX_PARTS:
        current = waiting.pop()
        if id(current) in seen or isinstance(current, _PLAIN):
            continue
        seen[id(current)] = current
        waiting += [part for _, part in parts(current)]
    return seen


def reads_outside(function: Any) -> str | None:
    """What a function of one's own and those it calls read each time, as far as their code shows it, or None."""
    seen: set[int] = set()
    waiting = [function if isinstance(function, CODE) else vars(type(function)).get("__call__")]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, type) or not isinstance(value, CODE):
            continue
        seen.add(id(value))
        if isinstance(value, types.FunctionType) and is_own(value):
            if {"environ", "getenv"} & set(value.__code__.co_names):
                return "the environment"
            if "open" in _globals_of(value.__code__):
                return "a file"
        waiting += [part for _, part in parts(value)]
    return None


def fingerprint(value: Any, skip: Callable[[str], bool] = lambda _path: False, *, modes: bool = False) -> str:
    """SHA-256 of the content of an object; equal in another process for equal content.

    Args:
        value: any object.
        skip: paths such as `.low` of attributes that do not count.
        modes: whether it counts that a module is in training, which it does where it is called as it is.

    Raises:
        InferenceError: a part is opaque, such as a session of a compiled library; the message names it.
    """
    return _Hasher(skip, modes).digest(value, "").hex()


class _Hasher:
    """Digests of one walk; an object that is met again counts by the order in which it was met."""

    def __init__(self, skip: Callable[[str], bool], modes: bool) -> None:
        self._skip, self._modes, self._order = skip, modes, {}  # type: ignore[var-annotated]
        self._kept: list[Any] = []  # an id must not be given to another object during the walk

    def digest(self, value: Any, path: str) -> bytes:
        if isinstance(value, enum.Enum):
            return _hash("enum", _name(type(value)), value.name)
        if isinstance(value, _PLAIN):
            return _hash("plain", type(value).__name__, repr(value))
        if isinstance(value, os.PathLike) and isinstance(value, pathlib.PurePath):
            return _hash("path", str(value))
        if id(value) in self._order:
            return _hash("again", str(self._order[id(value)]))
        self._order[id(value)] = len(self._order)
        self._kept.append(value)
        if len(self._order) > MAX_PARTS:
            raise InferenceError(f"it holds more than {MAX_PARTS:,} objects")
        return self._compound(value, path)

    def _compound(self, value: Any, path: str) -> bytes:
        if isinstance(value, Tensor):
            return _tensor(value)
        if isinstance(value, np.ndarray) and value.dtype.kind != "O":
            return _hash("array", str(value.dtype), str(value.shape), np.ascontiguousarray(value).tobytes())
        if isinstance(value, np.ndarray):
            return _hash("objects", str(value.shape), self.digest(value.tolist(), path))
        if isinstance(value, _BY_NAME):
            return _hash("named", _name(value), self._self_of(value, path))
        if isinstance(value, _EMPTY):
            return _hash("empty", type(value).__name__)
        if isinstance(value, types.FunctionType):
            code = self.digest(_code(value.__code__), path) if is_own(value) else b""
            return _hash("function", _name(value), code, self._ordered(parts(value), path))
        if isinstance(value, type):
            return _hash("class", _name(value), self._ordered(parts(value), path))
        if isinstance(value, set | frozenset):
            return _hash(type(value).__name__, *sorted(self.digest(item, path) for item in value))
        if isinstance(value, dict) and type(value).__module__ in ("builtins", "collections"):
            pairs = [
                self.digest(key, path) + self.digest(part, f"{path}[{_short(key)}]")
                for key, part in value.items()
                if not self._skip(f"{path}[{_short(key)}]")
            ]
            return _hash("dict", *sorted(pairs))
        if isinstance(value, types.MethodType | functools.partial | staticmethod | classmethod | property) or type(
            value
        ) in (list, tuple, deque):
            return _hash(type(value).__name__, self._ordered(parts(value), path))
        if isinstance(value, functools._lru_cache_wrapper):
            return _hash("cached", self.digest(value.__wrapped__, path))
        if isinstance(value, nn.Module):
            return self._module(value, path)
        return self._reduced(value, path)

    def _ordered(self, held: Iterable[Part], path: str) -> bytes:
        named = [(name, f"{path}{name if name.startswith('[') else '.' + name}", part) for name, part in held]
        return _hash(
            *(name.encode() + self.digest(part, inner) for name, inner, part in named if not self._skip(inner))
        )

    def _self_of(self, value: Any, path: str) -> bytes:
        owner = getattr(value, "__self__", None)
        return b"" if owner is None or isinstance(owner, types.ModuleType) else self.digest(owner, f"{path}.self")

    def _module(self, module: nn.Module, path: str) -> bytes:
        tensors = {**module._parameters, **module._buffers}
        weights = [(name, tensor) for name, tensor in sorted(tensors.items()) if tensor is not None]
        mode = [("training", module.training)] if self._modes else []
        return _hash(
            "module", self._ordered([*mode, *weights, *module._modules.items(), *module_settings(module)], path)
        )

    def _reduced(self, value: Any, path: str) -> bytes:
        """An object as pickle takes it apart."""
        try:
            taken = value.__reduce_ex__(4)
        except Exception as error:
            raise InferenceError(f"{_where(path)} is a {_name(type(value))}, which is no data: {error}") from error
        if isinstance(taken, str):
            return _hash("global", _name(type(value)), taken)
        maker, arguments, *rest = taken
        state, items, pairs = ([*rest, None, None, None])[:3]
        told = [("made by", maker), ("with", arguments), ("state", state)]
        told += [("items", list(items or ())), ("pairs", list(pairs or ()))]
        digests = [self.digest(part, path) for _, part in told]
        return _hash("object", self.digest(type(value), path), *digests)


def module_settings(module: nn.Module) -> list[Part]:
    """What a module is beside weights and sub-modules: class, hooks, and attributes.

    Of an own class all attributes count; of a package's class what it shows, and what was put there by the user.
    """
    own = is_own(module)
    held = [
        (
            name,
            list(part.values()) if "_hooks" in name and isinstance(part, dict) else part,
        )  # the keys of hooks are numbers of the process
        for name, part in vars(module).items()
        if not name.startswith(_MODULE_NOISE) and (own or "_hooks" in name or _is_foreign(part))
    ]
    # A copy of a traced module is of another class of torch.
    kind = torch.jit.ScriptModule if isinstance(module, torch.jit.ScriptModule) else type(module)
    return [("class", kind), ("shown", "" if own else module.extra_repr()), *held]


def _is_foreign(part: Any) -> bool:
    """Whether an attribute of a package's module was put there by the user: a function, or an object of own code."""
    return isinstance(part, types.FunctionType | types.MethodType | functools.partial) or (
        not isinstance(part, (*_PLAIN, dict, list, tuple, set, Tensor, np.ndarray, type)) and is_own(part)
    )


def _where(path: str) -> str:
    return path.lstrip(".") or "it"


def _name(value: Any) -> str:
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return plain(f"{getattr(value, '__module__', '')}.{name}")


def _tensor(tensor: Tensor) -> bytes:
    plain = tensor.detach()
    if plain.is_meta:
        return _hash("tensor", "meta", str(plain.dtype), str(tuple(plain.shape)))
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.layout != torch.strided:
        plain = plain.to_dense()
    return _hash("tensor", str(plain.dtype), str(tuple(plain.shape)), tensor_bytes(plain))


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in row-major order; a copy only where its memory is not so."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy().data) if flat.numel() else memoryview(b"")


def _hash(*told: str | bytes | memoryview) -> bytes:
    digest = hashlib.sha256()
    for part in told:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))  # so that borders cannot shift
        digest.update(data)
    return digest.digest()
