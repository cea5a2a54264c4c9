"""ONNX Runtime's static quantizer: an int8 network for CPUs. It is a network of its own, not what the sensor computes."""

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    create_calibrator,
    quantize_static,
    save_tensors_data,
)

from shared.contracts.quantization import CpuOptions
from shared.picosam.export import INPUT_NAME, describe_onnx
from shared.picosam.prompt import to_input
from shared.picosam.quantization.calibration import Report

BATCH: Final = 10
"""Windows at a time, at the most: the calibrator keeps all intermediate values of a batch."""

_METHODS: Final = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
_ENTROPY: Final = {"num_bins": 512, "num_quantized_bins": 128}
"""Its own default has no more bins than levels, so that the whole range is all there is to choose from. It is plain Python:
with 2048 bins it takes a minute for PicoSAM2 and finds no better."""


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """Feeds calibration windows, and tells how far it is."""

    def __init__(self, windows: NDArray[np.uint8], report: Report) -> None:
        self._windows, self._report, self._done = windows, report, 0
        # All batches alike: the calibrator stacks what it saw of them.
        self._batch = max(size for size in range(1, BATCH + 1) if len(windows) % size == 0)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next batch; None at the end."""
        part = self._windows[self._done : self._done + self._batch]
        if not len(part):
            return None
        self._done += len(part)
        self._report("calibrate", self._done, len(self._windows))
        return {INPUT_NAME: to_input(part)}


def quantize_for_cpu(network: Path, path: Path, windows: NDArray[np.uint8], options: CpuOptions, report: Report) -> None:
    """Write ``network``, a float model.onnx of ours, as int8 to ``path``. windows: uint8 [N, S, S, 3] RGB.

    Activations are uint8, kernels int8 with a scale per channel: what VNNI multiplies in one instruction.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as temporary, _quiet():
        prepared, ranges = Path(temporary, "float.onnx"), Path(temporary, "ranges.json")
        onnx.save(_prepared(network), str(prepared))
        _calibrate(prepared, ranges, _Reader(windows, report), options)
        quantize_static(
            prepared,
            path,
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=options.reduce_range,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[options.calibration],
            calibration_cache_path=ranges,
        )
    written = onnx.load(str(path))
    describe_onnx(written)
    onnx.save(written, str(path))


def _calibrate(network: Path, ranges: Path, reader: _Reader, options: CpuOptions) -> None:
    """Write the range of every activation. By itself, since ``quantize_static`` hands no bins on."""
    calibrator = create_calibrator(
        network,
        augmented_model_path=str(ranges.with_name("observed.onnx")),
        calibrate_method=_METHODS[options.calibration],
        extra_options={"percentile": {"percentile": options.percentile}, "entropy": _ENTROPY}.get(options.calibration, {}),
    )
    calibrator.collect_data(reader)
    save_tensors_data(calibrator.compute_data(), ranges)


def _prepared(network: Path) -> onnx.ModelProto:
    """Constants as initializers: the quantizer leaves a node alone whose parameters it does not find among them.

    A parameter that several layers share, as the zeros of a new network, reaches all but one by an Identity.
    """
    model = onnx.load(str(network))
    kept = {each.name: each for each in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
        elif node.op_type == "Identity" and node.input[0] in kept:
            value = kept[node.input[0]]
        else:
            continue
        model.graph.initializer.add().CopyFrom(value)
        model.graph.initializer[-1].name = node.output[0]
        model.graph.node.remove(node)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """It prints, and logs advice on pre-processing, which fails on these networks and gains nothing, to the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(before)
