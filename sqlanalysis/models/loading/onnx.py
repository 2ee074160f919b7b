"""ONNX files, run by ONNX Runtime on the CPU or CUDA."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...core.text import first_line
from ...errors import InferenceError
from .batches import in_batches
from .exported import prepared, refuse_layer
from .found import Found
from .names import sql_name

_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(uint8)": torch.uint8,
}


class OnnxModule(nn.Module):
    """A session of ONNX Runtime as a module: maps (B, C, H, W) to the outputs of the graph.

    A session keeps nothing between runs and may be run by several threads at once, so copies share it.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self._sessions = file, {"cpu": _open(file, "cpu")}
        session = self._sessions["cpu"]
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise InferenceError(
                f"{file} takes {', '.join(f'{one.name} {one.shape}' for one in inputs)}; a model of pictures takes one "
                "input of four axes"
            )
        self.input, self.outputs = inputs[0].name, [one.name for one in session.get_outputs()]
        if inputs[0].type not in _DTYPES:
            raise InferenceError(f"{file} takes values of type {inputs[0].type}, which pictures are not")
        self.dtype = _DTYPES[inputs[0].type]
        sizes = [size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape]
        self.batch = sizes[0]
        # Where both axes could be channels, or neither says so, it is the order of torch.
        self.channels_last = sizes[3] in (1, 3) and sizes[1] not in (1, 3)
        self.channels, self.height, self.width = (
            (sizes[3], sizes[1], sizes[2]) if self.channels_last else (sizes[1], sizes[2], sizes[3])
        )
        # The hash of weights covers the state dict; the graph has the weights, or names the files that have them.
        self.register_buffer("file_sha256", torch.frombuffer(bytearray(_digest(file)), dtype=torch.uint8))

    def __deepcopy__(self, _memo: Any) -> OnnxModule:
        return self

    def forward(self, batch: Tensor) -> Any:
        """The output of the graph as a tensor; several outputs as a dict by name."""
        if torch.is_autocast_enabled(batch.device.type):
            raise InferenceError(f"{self.file.name} computes in the types that its graph says; leave out dtype=")
        session = self._session(batch.device)

        def run(rows: Tensor) -> Any:
            values = rows.to(self.dtype)
            if self.channels_last:
                values = values.permute(0, 2, 3, 1)
            given = session.run(None, {self.input: values.contiguous().cpu().numpy()})
            tensors = {
                name: torch.from_numpy(value).to(batch.device)
                for name, value in zip(self.outputs, given, strict=True)
                if hasattr(value, "dtype")
            }
            return next(iter(tensors.values())) if len(tensors) == 1 else tensors

        return in_batches(run, batch, self.batch)

    def _session(self, device: torch.device) -> Any:
        if str(device) not in self._sessions:
            self._sessions[str(device)] = _open(self.file, str(device))
        return self._sessions[str(device)]


def _open(file: Path, device: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the engine has a worker for each core
    options.log_severity_level = 3  # errors are raised; warnings about unused initializers are nobody's concern
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise InferenceError(
                "this ONNX Runtime has no CUDA: install onnxruntime-gpu in place of onnxruntime, or give device= cpu"
            )
        settings = {"device_id": torch.device(device).index or 0, "use_tf32": 0}
        providers = [("CUDAExecutionProvider", settings), *providers]
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:
        raise InferenceError(f"{file} cannot be read by ONNX Runtime: {first_line(error)}") from error


def _digest(file: Path) -> bytes:
    """SHA-256 of the file, and of the files beside it that it names: large weights are kept outside the graph."""
    content = file.read_bytes()
    digest = hashlib.sha256(content)
    for other in sorted(file.parent.iterdir()):
        if other != file and other.is_file() and other.name.encode() in content:
            with other.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.digest()


def from_onnx(file: Path, weights: str | Path | None, transform_given: bool, layer: str | None) -> Found:
    """An ONNX file; layout, size and batch are those of its graph.

    Raises:
        InferenceError: it cannot be read, takes something else than pictures, or a layer is asked for.
    """
    if str(weights) != "DEFAULT":
        raise InferenceError(f"{file} has weights of its own; leave out weights=")
    refuse_layer(str(file), layer)
    module = OnnxModule(file)
    size = None if module.height is None or module.width is None else (module.height, module.width)
    dtype = "" if module.dtype.is_floating_point else str(module.dtype).removeprefix("torch.")
    return prepared(Found(module, sql_name(file.stem), str(file)), file, transform_given, size, module.channels, dtype)
