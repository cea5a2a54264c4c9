"""Export to ONNX, and the proof that the exported file computes what torch computes."""

import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from shared.picosam.prompt import INPUT_SIZE, to_input

OPSET: Final = 17
INPUT_NAME: Final = "window"
OUTPUT_NAME: Final = "logits"
TOLERANCE: Final = 1e-4
"""Absolute and relative, of the logits."""
LEAST_PIXEL_AGREEMENT: Final = 0.9999
"""Share of cells with the same mask, to be exceeded."""

exporting: Final = threading.Lock()
"""Held while torch exports: its exporter and the warning filters are global."""


class ExportDisagrees(Exception):
    """The exported network computes something else than torch: a defect, never to be shipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far an exported network is from torch's on the same windows."""

    max_abs: float  # of the logits
    pixel_agreement: float  # share of cells with the same mask, 0..1
    within_tolerance: bool  # all logits within TOLERANCE, absolute plus relative
    windows: int

    @property
    def holds(self) -> bool:
        """True if the export may be shipped."""
        return self.within_tolerance and self.pixel_agreement > LEAST_PIXEL_AGREEMENT


def export_onnx(model: nn.Module, path: Path, *, opset: int = OPSET, size: int = INPUT_SIZE) -> None:
    """Writes ``model`` in evaluation mode as one ONNX file with input ``window`` and output ``logits``, batch size free.

    The file appears whole or not at all. The model comes back in the mode it was in. ValueError for an opset below 17.
    """
    if opset < OPSET:
        raise ValueError(f"opset must be at least {OPSET}, got {opset}")
    path.parent.mkdir(parents=True, exist_ok=True)
    was_training = model.training
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".onnx-") as folder:
        written = Path(folder) / "model.onnx"
        try:
            _trace(model.eval(), written, opset, size)
        finally:
            model.train(was_training)
        _describe(written)
        written.replace(path)


def _trace(model: nn.Module, path: Path, opset: int, size: int) -> None:
    """The TorchScript exporter: 0.4 s and one file, where the newer one takes 5 s and puts the weights in a second file."""
    first = next(model.parameters())
    example = torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype)
    batch = {INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}}
    with exporting, warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # it says that the other exporter is the default now
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, opset_version=opset, dynamic_axes=batch,
            input_names=[INPUT_NAME], output_names=[OUTPUT_NAME],
        )  # fmt: skip


def _describe(path: Path) -> None:
    """Checks the file and writes into it what its input means."""
    network = onnx.load(str(path))
    onnx.checker.check_model(network, full_check=True)
    describe_onnx(network)
    onnx.save(network, str(path))


def describe_onnx(network: onnx.ModelProto) -> None:
    """Write into a network what its input and output mean."""
    network.producer_name = "picofleet"
    onnx.helper.set_model_props(network, {"input": "RGB, pixel/256", "output": "logits; above 0 is object"})


def check_export(model: nn.Module, path: Path, windows: NDArray[np.uint8] | None = None, *, batch: int = 16) -> Agreement:
    """Runs torch and ONNX Runtime on the same ``windows``, uint8 [N, S, S, 3] (noise and flat colours if None).

    ExportDisagrees if the logits differ by more than ``TOLERANCE`` or too many mask cells do.
    """
    windows = _trial_windows() if windows is None else windows
    wanted, found = _torch_logits(model, windows, batch), _onnx_logits(path, windows, batch)
    agreement = Agreement(
        max_abs=float(np.max(np.abs(wanted - found))),
        pixel_agreement=float(np.mean((wanted > 0) == (found > 0))),
        within_tolerance=bool(np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE)),
        windows=len(windows),
    )
    if not agreement.holds:
        raise ExportDisagrees(
            f"{path.name} differs from torch on {agreement.windows} windows: logits by up to {agreement.max_abs:.3g} "
            f"(allowed {TOLERANCE:g}), the same mask in {agreement.pixel_agreement:.4%} of the cells"
        )
    return agreement


def _torch_logits(model: nn.Module, windows: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    """float32 [N, 1, S, S], in evaluation mode; the model comes back in the mode it was in."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.inference_mode():
            parts = [model(torch.from_numpy(part).to(device)).float().cpu().numpy() for part in batches(windows, batch)]
    finally:
        model.train(was_training)
    return np.concatenate(parts)


def _onnx_logits(path: Path, windows: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT_NAME], {INPUT_NAME: part})[0] for part in batches(windows, batch)])


def batches(windows: NDArray[np.uint8], batch: int) -> Iterator[NDArray[np.float32]]:
    """``windows``, uint8 [N, S, S, 3], as the network's input: float32 [<= batch, 3, S, S] in pixel/256."""
    return (to_input(windows[start : start + batch]) for start in range(0, len(windows), batch))


def _trial_windows(size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """24 windows: noise at four contrasts, and the flat colours whose rounding differs most."""
    random = np.random.default_rng(0)
    noise = [random.integers(0, 2**bits, (4, size, size, 3), dtype=np.uint8, endpoint=False) for bits in (2, 4, 6)]
    noise.append(random.integers(0, 256, (4, size, size, 3), dtype=np.uint8))
    flat = np.broadcast_to(random.integers(0, 256, (8, 1, 1, 3), dtype=np.uint8), (8, size, size, 3))
    return np.concatenate([*noise, flat])
