"""Look at a model before it runs: what it takes and gives, whether its answers are answers, and which model it is.

Two fixed images of noise go through it. `examine` measures shapes when a model is loaded. `probe` runs at predict,
through the engine's own path: it refuses answers that are random or depend on the other images of a batch, and its
numbers tell another run of the same name whether it is the same model.
"""

from __future__ import annotations

import hashlib
import json
import platform
import random
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..core.text import one_line
from ..errors import InferenceError, near_matches
from . import hooks, isolation, outputs
from .content import fingerprint, module_settings
from .transforms import Transform, to_tensor

MAX_NUMBERS = 16  # of one vector in the record
SQUARES = 8  # of one color, along a side of a noise image
# Pixels of the sides of noise images. The first is tried first; the others for a transform that keeps the size of a
# picture, or takes no other.
SIDES = (256, 224, 32, 28, 64, 96, 128, 299, 384, 512, 48, 84, 112, 160, 192, 320, 448)
# Batches that a module of a fixed size may want; the first is tried first.
SIZES = (2, 1, 4, 8, 16, 32, 64, 128, 3, 5, 6, 10, 12, 24)
# Two computations of one answer may differ by this share of its largest number: by the order of sums, and by place.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
RARE = 24  # further passes of a module that draws random numbers and yet gave equal answers

Answers = Sequence[tuple[Tensor, Tensor | None]]  # logits and activation, for each of the two images
Pass = Callable[[dict[int, Tensor], int], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Facts:
    """What `examine` measures.

    Attributes:
        side: of the images of noise that it takes, in pixels.
        keeps_size: whether the transform keeps the size of a picture, so that the data set decides `input_shape`.
        input_shape: of one image of noise, (C, H, W).
        input_dtype: dtype that the module takes.
        batch: the only batch size that the module takes; None where any does.
        outputs: (2, n) or (1, n), for the images of noise.
        where: where they are in what the forward pass gives, such as `["logits"]`.
        origin: the operator that gave them, as `outputs.Origin` says.
        n_activations: width of the activation; None without a layer.
        settings: hashes of what the module is beside its weights: code of own classes, attributes, hooks.
        notes: what differs from the common case.
    """

    side: int
    keeps_size: bool
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    batch: int | None
    outputs: Tensor
    where: str
    origin: str | None
    n_activations: int | None
    settings: dict[str, str]
    notes: tuple[str, ...] = ()


def noise(width: int = SIDES[0], height: int = SIDES[0]) -> list[Image.Image]:
    """Two fixed images: squares of random colors with random pixels over them; the same on every machine."""
    pictures = []
    rows, columns = (np.arange(n) * SQUARES // n for n in (height, width))
    for name in ("first", "second"):
        coarse = _bytes(f"{name} coarse", SQUARES * SQUARES * 3).reshape(SQUARES, SQUARES, 3)
        fine = _bytes(f"{name} fine", height * width * 3).reshape(height, width, 3)
        large = coarse[rows][:, columns].astype(np.uint16)
        pictures.append(Image.fromarray(((2 * large + fine) // 3).astype(np.uint8)))
    return pictures


def _bytes(name: str, count: int) -> np.ndarray:
    """Bytes without a pattern, the same in every version of Python and numpy."""
    return np.frombuffer(hashlib.shake_256(name.encode()).digest(count), np.uint8)


def examine(
    module: nn.Module, transform: Transform, layer: str | None, *, can_copy: bool = True, embedding: bool = False
) -> Facts:
    """Measure what a module takes and gives, with two images of noise; the module is left as it was.

    With `embedding` the outputs are the activation: of the layer, or else what the forward pass gives, pooled.

    Raises:
        InferenceError: the transform or the module fails, its outputs are no logits (B, n), or the layer is not usable.
    """
    with torch.random.fork_rng(), nullcontext() if can_copy else isolation.borrowed(module):
        runner = isolation.worker_copy(module) if can_copy else module
        before, weights = settings(runner), isolation.checksum(runner)
        first = _first_pass(runner, transform)
        batch, size = first.batch, first.size

        def forward() -> Any:
            with torch.inference_mode():
                return runner(batch)

        activation, notes = _activation(runner, layer, forward, len(batch))
        with outputs.Origin() as origin:
            result = forward()
        if embedding:
            if activation is None:
                activation, said = _embedding(module, result)
                notes = (*notes, *said)
            rows, where = activation, ""
        else:
            rows, where = outputs.take(result)
        if len(rows) != len(batch):
            raise InferenceError(f"outputs have shape (B, n), these are {tuple(rows.shape)} for B = {len(batch)}")
        if batch.is_floating_point() and not first.given.is_floating_point:
            values = f"{str(first.given).removeprefix('torch.')} values"
            notes = (*notes, f"the transform gives {values}, which the module gets as floats, not divided by 255")
        if size is not None:
            notes = (*notes, f"the module takes batches of {size} only")
        after = settings(runner)
        learns = weights != isolation.checksum(module)  # parameters are shared
        if can_copy and not learns and (before != after or weights != isolation.checksum(runner)):
            learns = _depends_on_first(runner, isolation.worker_copy(module), batch)
        if learns:
            raise InferenceError(
                f"{type(module).__name__} sets weights or buffers from the first batch that it gets, here of noise "
                "(data-dependent initialization): pass a batch of your own images through it, then load it"
            )
    return Facts(
        first.side,
        _keeps_size(transform, first.side),
        tuple(batch.shape[1:]),
        batch.dtype,
        size,
        rows[:2].cpu(),
        where,
        None if embedding else origin.of(rows),
        None if activation is None else activation.shape[1],
        # What a pass writes is no setting: a skip connection on self, a counter.
        {key: value for key, value in before.items() if after.get(key) == value},
        notes,
    )


class _First(NamedTuple):
    """Side of the noise images that were taken, dtype that the transform gives, and what `_take_batch` found."""

    side: int
    given: torch.dtype
    batch: Tensor
    size: int | None


def _first_pass(module: nn.Module, transform: Transform) -> _First:
    """Images of noise that transform and module take.

    Raises:
        InferenceError: they take none of the sides that are tried.
    """
    failure = ""
    for side in SIDES:
        what = f"{side} x {side} image of noise"
        try:
            tensors = torch.stack([to_tensor(transform(picture)) for picture in noise(side, side)])
        except (Exception, SystemExit) as error:
            failure = failure or _told(f"the transform fails on a {what}", error, "")
            continue
        try:
            # What fails for its size may be large: it is not tried with large batches, too.
            batch, size = _take_batch(module, tensors, SIZES if side == SIDES[0] else SIZES[:2])
        except (Exception, SystemExit) as error:
            failure = failure or _told(f"the model fails on a {what}", error, _advice(tensors[0], (side, side)))
            if tuple(tensors.shape[2:]) != (side, side):
                raise InferenceError(failure) from error
            continue
        return _First(side, tensors.dtype, batch, size)
    raise InferenceError(failure)


def _told(what: str, error: BaseException, advice: str) -> str:
    return f"{what}: {type(error).__name__}: {one_line(error, 300)}{advice}"


def _advice(tensor: Tensor, size: tuple[int, int]) -> str:
    """What may be wrong with the tensor that a transform gives for a picture of a size, if the module fails on it."""
    if tensor.is_floating_point() and tuple(tensor.shape[1:]) == size[::-1]:
        return "; the transform keeps the size of a picture: let it resize to what the module takes"
    if tensor.is_floating_point() and tensor.ndim == 3:
        return ""
    return f"; the transform gives {tensor.dtype} {tuple(tensor.shape)}, a transform gives floats of shape (C, H, W)"


def _keeps_size(transform: Transform, side: int) -> bool:
    """Whether a picture of another size gives a tensor of that size."""
    try:
        shape = to_tensor(transform(noise(side + 8, side)[0])).shape
    except (Exception, SystemExit):  # it takes one size only
        return False
    return tuple(shape[1:]) == (side, side + 8)


def _take_batch(module: nn.Module, tensors: Tensor, sizes: Sequence[int]) -> tuple[Tensor, int | None]:
    """A batch that the module takes, and its size if the module takes no other."""
    own = next((tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()), tensors.dtype)
    dtypes = dict.fromkeys([tensors.dtype, own] if tensors.is_floating_point() else [tensors.dtype, torch.float32])
    failure: BaseException | None = None
    for size in sizes:
        for dtype in dtypes:
            batch = tensors[torch.arange(size) % 2].to(dtype).to(_device(module))
            try:
                with torch.inference_mode():
                    module(batch)
                return batch, None if size == SIZES[0] and _takes_one(module, batch) else size
            except (Exception, SystemExit) as error:
                failure = failure or error
    raise failure or InferenceError("there is no batch size to try")


def _depends_on_first(used: nn.Module, fresh: nn.Module, batch: Tensor) -> bool:
    """Whether a module gives other answers, the same in each pass, if its first batch was not this one."""

    def answer(module: nn.Module) -> Answers:
        torch.manual_seed(0)
        return [(tensor.clone(), None) for tensor in _numbers(module(batch))]

    with torch.inference_mode():
        first, again = answer(used), answer(used)
        fresh((batch / 2).to(batch.dtype))
        second = answer(fresh)
    if len({len(answers) for answers in (first, again, second)}) > 1:
        return False
    limit = TOLERANCE.get(batch.dtype, TOLERANCE[torch.float32])
    # One that changes with each pass is what `probe` refuses.
    return _gap(first, again) <= limit < _gap(first, second)


def _numbers(result: Any) -> list[Tensor]:
    """The tensors in what a forward pass gives."""
    held = list(result.values()) if isinstance(result, dict) else result
    if isinstance(held, list | tuple):
        return [tensor for part in held for tensor in _numbers(part)]
    return [held] if isinstance(held, Tensor) else []


def _takes_one(module: nn.Module, batch: Tensor) -> bool:
    """Whether a module that takes a batch of the first size takes another, too."""
    try:
        with torch.inference_mode():
            module(batch[:1])
    except Exception:
        return False
    return True


def _device(module: nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.parameters()), torch.device("cpu"))


def _activation(
    module: nn.Module, layer: str | None, forward: Callable[[], Any], size: int
) -> tuple[Tensor | None, tuple[str, ...]]:
    """The pooled output of the layer, of its last call where it runs several times in a pass."""
    if layer is None:
        return None, ()
    hooks.find_layer(module, layer)
    kept: list[Tensor] = []
    problem = None
    try:
        with hooks.keep_output(module, layer, kept.append):
            forward()
    except InferenceError as error:
        problem = str(error)
    if not kept and problem is None:
        problem = "it is not used in the forward pass"
    elif kept and (kept[-1].ndim != 2 or len(kept[-1]) != size):
        problem = f"it gives no vector for each image, but {tuple(kept[-1].shape)} for {size} images"
    if problem is not None:
        usable = hooks.layers_that_work(module, forward, size)
        raise InferenceError(f"layer {layer!r} cannot be kept: {problem}{near_matches(layer, usable)}")
    many = f"layer {layer!r} runs {len(kept)} times in a pass; the activation is that of its last call"
    return kept[-1], (many,) if len(kept) > 1 else ()


def _embedding(module: nn.Module, result: Any) -> tuple[Tensor, tuple[str, ...]]:
    """The embedding in what an encoder gives, pooled, and a note where that was a choice."""
    value, where = outputs.take_embedding(result)
    has_token = hooks.has_class_token(module)
    embedding = hooks.pool(value, has_token, hooks.channel_widths(module))
    if not where and value.ndim == 2:
        return embedding, ()
    shape = ", ".join(map(str, value.shape[1:]))
    how = {3: ", its class token" if has_token else ", its mean over places", 4: ", its mean over places"}
    said = f"the embedding is {where or 'the output'} (B, {shape}) of the forward pass{how.get(value.ndim, '')}"
    return embedding, (said,)


def settings(module: nn.Module) -> dict[str, str]:
    """Hash of everything but the weights in the state dict, by the name of the sub-module and attribute."""
    saved = set(module.state_dict(keep_vars=True))
    found = {}
    for name, part in module.named_modules():
        prefix = f"{name}." if name else ""
        buffers = part.named_buffers(recurse=False)
        unsaved = [(key, tensor) for key, tensor in buffers if f"{prefix}{key}" not in saved]
        for key, value in (*module_settings(part), *unsaved):
            try:
                found[f"{prefix}{key}"] = fingerprint(value)
            except InferenceError:  # the answers to noise must do
                found[f"{prefix}{key}"] = "unidentified"
    return found


@dataclass(frozen=True)
class Probed:
    """What `probe` found.

    Attributes:
        record: JSON for `runs.probe`; `sqlanalysis.runs.identity` compares two of them.
        is_random: whether two passes of one image differ, which the caller allowed.
    """

    record: str
    is_random: bool


def probe(
    name: str,
    load: Callable[[Image.Image], Tensor],
    run: Pass,
    size: int,
    dtype: torch.dtype,
    *,
    pictures: Sequence[Image.Image],
    settings_sha256: str,
    allow_random: bool = False,
) -> Probed:
    """Run two images of noise beside each other, and the first again at another place beside blanks.

    Args:
        name: of the model, for messages.
        load: an image to the tensor of one row of a batch.
        run: tensors at their places of a batch of the given size to logits and activations of the batch.
        size: of the batches; 1 has one place and no neighbor.
        dtype: in which the module computes.
        pictures: two of `noise`.
        settings_sha256: of `Facts`.
        allow_random: record answers that differ from pass to pass instead of refusing them.

    Raises:
        InferenceError: the transform or module is random, an answer depends on the other images of its batch, or
            nothing can be computed.
    """
    tensors: list[Tensor] = []
    with torch.random.fork_rng():
        try:
            random_reason = _random_transform(name, load, pictures[0])
            tensors = [load(picture) for picture in pictures]
            answers, drew = _both(run, tensors, size)
            moved = _answer(run, size, (tensors[0], size - 1))
            limit = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
            gap = _gap(answers[:1], moved)
            if random_reason is None and (drew or gap > limit):
                random_reason = _random(name, run, tensors, size, answers, drew, limit)
        except InferenceError:
            raise
        except (Exception, SystemExit) as error:
            advice = _advice(tensors[0], pictures[0].size) if tensors else ""
            what = "{} fails on {} x {} images of noise".format(name, *pictures[0].size)
            raise InferenceError(_told(what, error, advice)) from error
    if random_reason is not None and not allow_random:
        raise InferenceError(f"{random_reason}, or allow random answers with allow_random=True")
    if random_reason is None:
        refuse_mixing(name, dtype, answers[:1], moved)
    return Probed(_record(answers, dtype, size, settings_sha256, random_reason is not None), random_reason is not None)


def _random_transform(name: str, load: Callable[[Image.Image], Tensor], picture: Image.Image) -> str | None:
    def differs() -> bool:
        again = load(picture)
        if again.data_ptr() == first.data_ptr() and first.numel():
            raise InferenceError(
                f"the transform of {name} gives the same tensor again, with other values: images would overwrite each "
                "other; return a copy, such as tensor.clone()"
            )
        return first.shape != again.shape or not torch.equal(first.nan_to_num(), again.nan_to_num())

    before = _random_states()
    first = load(picture)
    drew = _random_states() != before
    if not any(differs() for _ in range(RARE if drew else 3)):  # a flip may give the same twice
        return None
    return f"the transform of {name} gives two different tensors for the same image: leave out its random steps"


def _random_states() -> tuple[bytes, ...]:
    """The generators that a step of a transform may draw from."""
    numbers = np.random.get_state(legacy=False)["state"]
    return repr(random.getstate()).encode(), repr(numbers).encode(), bytes(torch.get_rng_state().numpy())


def refuse_mixing(name: str, dtype: torch.dtype, answers: Answers, moved: Answers) -> None:
    """Refuse a model that gives images other answers at another place of a batch, beside other images.

    Raises:
        InferenceError: the answers differ by more than rounding.
    """
    gap = _gap(answers, moved)
    if gap > TOLERANCE.get(dtype, TOLERANCE[torch.float32]):
        raise InferenceError(
            f"{name} gives an image another answer beside other images of its batch (outputs differ by "
            f"{gap:.2g} of the largest): it computes with statistics of the batch, such as F.batch_norm(x, None, None, "
            "training=True), or mixes images; normalize with stored statistics, or give batch_size=1"
        )


def _answer(run: Pass, size: int, *images: tuple[Tensor, int]) -> Answers:
    """The answers of one pass, of images at their places."""
    logits, activation = run({place: tensor for tensor, place in images}, size)
    if logits.ndim != 2 or len(logits) != size:
        raise InferenceError(f"a model gives logits of shape (B, n), this one gives {tuple(logits.shape)}")
    if activation is not None and (activation.ndim != 2 or len(activation) != size):
        raise InferenceError(f"the layer gives no vector for each image, but {tuple(activation.shape)}")
    return [(logits[place], None if activation is None else activation[place]) for _, place in images]


def _both(run: Pass, tensors: list[Tensor], size: int) -> tuple[Answers, bool]:
    """Answers of both images, beside each other where there is room, and whether torch drew random numbers."""
    first, second = tensors
    state = torch.get_rng_state()
    if size > 1:
        answers = _answer(run, size, (first, 0), (second, 1))
    else:
        answers = [*_answer(run, size, (first, 0)), *_answer(run, size, (second, 0))]
    return answers, not torch.equal(state, torch.get_rng_state())


def _random(
    name: str, run: Pass, tensors: list[Tensor], size: int, first: Answers, drew: bool, limit: float
) -> str | None:
    """Why the answers of equal passes differ, or None if they do not."""
    gap = 0.0
    for _ in range(RARE if drew else 1):
        gap = max(gap, _gap(first, _both(run, tensors, size)[0]))
        if gap > limit:
            break
    else:
        return None
    if drew:
        why = (
            "it draws random numbers, such as F.dropout(x), whose default is training=True; write "
            "F.dropout(x, training=self.training)"
        )
    else:
        why = "it is random, or keeps something from one pass to the next; make it a function of its input"
    return f"{name} gives the same image two different answers (outputs differ by {gap:.2g} of the largest): {why}"


def _gap(first: Answers, second: Answers) -> float:
    """The largest difference of a number, as share of the largest number of its kind."""
    gap = 0.0
    for kind in (0, 1):
        pairs = [(a[kind], b[kind]) for a, b in zip(first, second, strict=True)]
        known = [(a.double(), b.double()) for a, b in pairs if a is not None and b is not None]
        if len(known) < len([a for a, _ in pairs if a is not None]):
            return float("inf")
        for a, b in known:
            if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
                return float("inf")
            scale = max(float(x.nan_to_num(0, 0, 0).abs().max()) for x in (a, b)) if a.numel() else 0.0
            difference = (a - b).nan_to_num(0, 0, 0).abs().max() if a.numel() else torch.tensor(0.0)
            gap = max(gap, float(difference) / scale if scale else 0.0)
    return gap


def _record(answers: Answers, dtype: torch.dtype, size: int, settings_sha256: str, is_random: bool) -> str:
    held: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch."), "batch": size, "random": is_random}
    held["logits"] = [_short(logits) for logits, _ in answers]
    if answers[0][1] is not None:
        held["activations"] = [_short(activation) for _, activation in answers if activation is not None]
    held["tolerance"] = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
    # Settings are compared only where the same code of Python and torch wrote them down.
    held["settings_sha256"] = settings_sha256
    held["made_with"] = f"python {platform.python_version()}, torch {torch.__version__}"
    return json.dumps(held)


def _short(vector: Tensor) -> list[float | None]:
    """The numbers, or 16 sums of them with fixed random signs where they are more; 7 digits."""
    values = vector.double().flatten()
    if len(values) > MAX_NUMBERS:
        bits = _bytes("signs", len(values) * MAX_NUMBERS) & 1
        signs = torch.from_numpy(bits.reshape(MAX_NUMBERS, len(values)).astype(np.float64) * 2 - 1)
        values = signs @ values / len(values) ** 0.5
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values.tolist()]
