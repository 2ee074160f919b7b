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
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

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
SIDE, BLOCK = 256, 32  # pixels of the noise images, and of their squares of one color
# Batches that a module of a fixed size may want; the first is tried first.
SIZES = (2, 1, 4, 8, 16, 32, 64, 128, 3, 5, 6, 10, 12, 24)
# Two computations of one answer may differ by this share of its largest number: by the order of sums, and by place.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
RARE = 24  # further passes of a module that draws random numbers and yet gave equal answers

Pass = Callable[[dict[int, Tensor], int], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Facts:
    """What `examine` measures.

    Attributes:
        input_shape: of one image, (C, H, W).
        input_dtype: dtype that the module takes.
        batch: the only batch size that the module takes; None where any does.
        outputs: (2, n) or (1, n), for the images of noise.
        where: where they are in what the forward pass gives, such as `["logits"]`.
        origin: the operator that gave them, as `outputs.Origin` says.
        n_activations: width of the activation; None without a layer.
        settings: hashes of what the module is beside its weights: code of own classes, attributes, hooks.
        notes: what differs from the common case.
    """

    input_shape: tuple[int, ...]
    input_dtype: torch.dtype
    batch: int | None
    outputs: Tensor
    where: str
    origin: str | None
    n_activations: int | None
    settings: dict[str, str]
    notes: tuple[str, ...] = ()


def noise() -> list[Image.Image]:
    """Two fixed images: squares of random colors with random pixels over them; the same on every machine."""
    pictures, count = [], SIDE // BLOCK
    for name in ("first", "second"):
        coarse = _bytes(f"{name} coarse", count * count * 3).reshape(count, count, 3)
        fine = _bytes(f"{name} fine", SIDE * SIDE * 3).reshape(SIDE, SIDE, 3)
        large = np.kron(coarse, np.ones((BLOCK, BLOCK, 1), np.uint8)).astype(np.uint16)
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
        before = settings(runner)
        tensors: Tensor | None = None
        try:
            tensors = torch.stack([to_tensor(transform(picture)) for picture in noise()])
            batch, dtype, size = _first_pass(runner, tensors)
        except Exception as error:
            cause = f"{type(error).__name__}: {one_line(error, 300)}{_advice(tensors)}"
            raise InferenceError(f"the model fails on a 256 x 256 image of noise: {cause}") from error

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
        if size is not None:
            notes = (*notes, f"the module takes batches of {size} only")
        after = settings(runner)
    return Facts(
        tuple(tensors.shape[1:]),
        dtype,
        size,
        rows[:2].cpu(),
        where,
        None if embedding else origin.of(rows),
        None if activation is None else activation.shape[1],
        # What a pass writes is no setting: a skip connection on self, a counter.
        {key: value for key, value in before.items() if after.get(key) == value},
        notes,
    )


def _advice(tensors: Tensor | None) -> str:
    """What may be wrong with the tensors of a transform, if the module fails on them."""
    if tensors is not None and tensors.is_floating_point() and tuple(tensors.shape[2:]) == (SIDE, SIDE):
        return "; the transform keeps the size of a picture: let it resize to what the module takes"
    if tensors is None or (tensors.is_floating_point() and tensors.ndim == 4):
        return ""
    shape = tuple(tensors.shape[1:])
    return f"; the transform gives {tensors.dtype} {shape}, a transform gives floats of shape (C, H, W)"


def _first_pass(module: nn.Module, tensors: Tensor) -> tuple[Tensor, torch.dtype, int | None]:
    """A batch that the module takes, its dtype, and its size if the module takes no other."""
    own = next((tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()), tensors.dtype)
    dtypes = dict.fromkeys([tensors.dtype, own] if tensors.is_floating_point() else [tensors.dtype, torch.float32])
    failure: Exception | None = None
    for size in SIZES:
        for dtype in dtypes:
            batch = tensors[torch.arange(size) % 2].to(dtype).to(_device(module))
            try:
                with torch.inference_mode():
                    module(batch)
                return batch, dtype, None if size == SIZES[0] and _takes_one(module, batch) else size
            except Exception as error:
                failure = failure or error
    raise failure or InferenceError("there is no batch size to try")


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
    settings_sha256: str,
    allow_random: bool = False,
) -> Probed:
    """Run two images of noise twice, at two places of a batch and beside another image.

    Args:
        name: of the model, for messages.
        load: an image to the tensor of one row of a batch.
        run: tensors at their places of a batch of the given size to logits and activations of the batch.
        size: of the batches; 1 has one place and no neighbor.
        dtype: in which the module computes.
        settings_sha256: of `Facts`.
        allow_random: record answers that differ from pass to pass instead of refusing them.

    Raises:
        InferenceError: the transform or module is random, an answer depends on the other images of its batch, or
            nothing can be computed.
    """
    with torch.random.fork_rng():
        try:
            random_reason = _random_transform(name, load)
            tensors = [load(picture) for picture in noise()]
            answers, moved, drew = _passes(run, tensors, size)
            limit = TOLERANCE.get(dtype, TOLERANCE[torch.float32])
            gap = _gap(answers, moved)
            if random_reason is None and (drew or gap > limit):
                random_reason = _random(name, run, tensors, size, answers, drew, limit)
        except InferenceError:
            raise
        except Exception as error:
            raise InferenceError(f"{name} fails on images of noise: {type(error).__name__}: {error}") from error
    if random_reason is not None and not allow_random:
        raise InferenceError(f"{random_reason}, or allow random answers with allow_random=True")
    if random_reason is None and gap > limit:
        raise InferenceError(
            f"{name} gives an image another answer beside other images of its batch (outputs differ by "
            f"{gap:.2g} of the largest): it computes with statistics of the batch, such as F.batch_norm(x, None, None, "
            "training=True), or mixes images; normalize with stored statistics, or give batch_size=1"
        )
    return Probed(_record(answers, dtype, size, settings_sha256, random_reason is not None), random_reason is not None)


def _random_transform(name: str, load: Callable[[Image.Image], Tensor]) -> str | None:
    picture = noise()[0]

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


Answers = list[tuple[Tensor, Tensor | None]]  # logits and activation, for each of the two images


def _passes(run: Pass, tensors: list[Tensor], size: int) -> tuple[Answers, Answers, bool]:
    """Answers of both images, at another place beside another image, and whether torch drew random numbers."""

    def answer(*pairs: tuple[int, int]) -> Answers:
        """The answers of one pass of images at places."""
        logits, activation = run({place: tensors[image] for image, place in pairs}, size)
        if logits.ndim != 2 or len(logits) != size:
            raise InferenceError(f"a model gives logits of shape (B, n), this one gives {tuple(logits.shape)}")
        if activation is not None and (activation.ndim != 2 or len(activation) != size):
            raise InferenceError(f"the layer gives no vector for each image, but {tuple(activation.shape)}")
        return [(logits[place], None if activation is None else activation[place]) for _, place in pairs]

    state = torch.get_rng_state()
    first = answer((0, 0), (1, 1)) if size > 1 else [*answer((0, 0)), *answer((1, 0))]
    drew = not torch.equal(state, torch.get_rng_state())
    return first, [*answer((0, size - 1)), *answer((1, 0))], drew


def _random(
    name: str, run: Pass, tensors: list[Tensor], size: int, first: Answers, drew: bool, limit: float
) -> str | None:
    """Why the answers of equal passes differ, or None if they do not."""
    gap = 0.0
    for _ in range(RARE if drew else 1):
        gap = max(gap, _gap(first, _passes(run, tensors, size)[0]))
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
