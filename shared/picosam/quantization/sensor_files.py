"""The two files of a network that was quantized for the sensor, and what their quantizers say.

``model.mctq.onnx`` has the toolkit's own operators and is for the IMX500 converter alone (it would take ONNX Runtime 2 s an
image). ``model.onnx`` says the same with ONNX's QuantizeLinear and DequantizeLinear, for plain ONNX Runtime: the reference that
a CPU and the simulated sensor run. Its kernels are stored as the 8-bit numbers that they are, with a scale per channel. The
toolkit would store them as rounded floats: four times as large, and by default ONNX Runtime quantizes those anew, per tensor.
"""

import copy
import functools
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

from shared.picosam.export import INPUT_NAME, OPSET, OUTPUT_NAME, describe_onnx, exporting
from shared.picosam.prompt import INPUT_SCALE, INPUT_SIZE
from shared.picosam.quantization.errors import WrongInputFormat

_WEIGHT: Final = ".layer.weight"
"""Behind a layer's name: what the toolkit calls its kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantizer:
    """What an activation is rounded to: (code) x scale, codes of ``bits`` bits, unsigned or around 0."""

    tensor: str
    """What is quantized, by the graph's name."""
    bits: int
    signed: bool
    scale: float


def export_reference(network: nn.Module, path: Path, *, size: int = INPUT_SIZE) -> None:
    """Write the toolkit's ``network`` for plain ONNX Runtime: input ``window``, output ``logits``, batch size free."""
    scales = {name: _scales(module) for name, module in _wrapped(network)}
    _export(network, path, size, "FAKELY_QUANT")
    model = onnx.load(str(path))
    _store_codes(model, scales)
    _save(model, path)


def export_mctq(network: nn.Module, path: Path, *, size: int = INPUT_SIZE) -> None:
    """Write the toolkit's ``network`` for the IMX500 converter, under the same names."""
    _export(network, path, size, "MCTQ")
    _save(onnx.load(str(path)), path)


def _export(network: nn.Module, path: Path, size: int, quantization_format: str) -> None:
    import model_compression_toolkit as mct

    def example() -> Iterator[list[NDArray[np.float32]]]:
        yield [np.zeros((1, 3, size, size), np.float32)]

    path.parent.mkdir(parents=True, exist_ok=True)
    with _torchscript_exporter():
        mct.exporter.pytorch_export_model(
            copy.deepcopy(network),  # it changes what it exports
            str(path),
            example,
            quantization_format=mct.exporter.QuantizationFormat[quantization_format],
            onnx_opset_version=OPSET,
            output_names=[OUTPUT_NAME],
        )


@contextmanager
def _torchscript_exporter() -> Iterator[None]:
    """torch's newer exporter, its default, loses quantizers; the toolkit does not say which one it means."""
    with exporting, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export = torch.onnx.export
        torch.onnx.export = functools.partial(export, dynamo=False)
        try:
            yield
        finally:
            torch.onnx.export = export


def _save(model: ModelProto, path: Path) -> None:
    _rename_input(model)
    describe_onnx(model)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _rename_input(model: ModelProto) -> None:
    (given,) = model.graph.input
    for node in model.graph.node:
        node.input[:] = [INPUT_NAME if name == given.name else name for name in node.input]
    given.name = INPUT_NAME


# Kernels as the numbers that they are


def _wrapped(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers whose kernel the toolkit quantizes."""
    return ((name, module) for name, module in network.named_modules() if "weight" in getattr(module, "weights_quantizers", ()))


def _scales(wrapper: Any) -> NDArray[np.float64]:
    """Of each output channel's weights, [C]."""
    return np.asarray(wrapper.weights_quantizers["weight"].scales.detach().cpu(), np.float64).reshape(-1)


def _store_codes(model: ModelProto, scales: dict[str, NDArray[np.float64]]) -> None:
    graph = model.graph
    kernels = {each.name: each for each in graph.initializer}
    for layer, scale in scales.items():
        name = f"{layer}{_WEIGHT}"
        kernel = numpy_helper.to_array(kernels[name])
        graph.initializer.remove(kernels[name])
        graph.initializer.extend(_coded(name, kernel, scale.astype(np.float32)))
        inputs = [f"{name}.codes", f"{name}.scale", f"{name}.zero"]
        graph.node.insert(0, helper.make_node("DequantizeLinear", inputs, [name], name=f"{layer}/DequantizeLinear", axis=0))


def _coded(name: str, kernel: NDArray[np.float32], scale: NDArray[np.float32]) -> list[TensorProto]:
    """Codes int8 as ``kernel`` [C, ...], scales float32 [C], zero points. ValueError if the kernel is no multiple of them."""
    spread = scale.reshape(-1, *[1] * (kernel.ndim - 1))
    codes = np.round(kernel / spread)
    if np.abs(codes).max(initial=0) > 128 or not np.array_equal((codes * spread).astype(np.float32), kernel):
        raise ValueError(f"{name} is not what its quantizer makes")
    zeros = np.zeros(scale.size, np.int8)
    tensors: dict[str, NDArray[Any]] = {"codes": codes.astype(np.int8), "scale": scale, "zero": zeros}
    return [numpy_helper.from_array(values, f"{name}.{what}") for what, values in tensors.items()]


# What the quantizers say


def activation_quantizers(path: Path) -> list[Quantizer]:
    """Those of a network's activations in either file, in the order of the graph; the first is the input's."""
    model = onnx.load(str(path))
    known = constants(model)
    found = (_quantizer(node, known) for node in model.graph.node)
    return [each for each in found if each is not None]


def _quantizer(node: NodeProto, known: dict[str, NDArray[Any]]) -> Quantizer | None:
    if node.op_type == "QuantizeLinear" and node.input[0] not in known:
        scale, zero = (known[name] for name in node.input[1:3])
        return Quantizer(tensor=node.input[0], bits=8 * zero.itemsize, signed=zero.dtype.kind == "i", scale=float(scale))
    if node.op_type == "ActivationPOTQuantizer":
        told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        bits, signed = int(told["num_bits"]), bool(told["signed"])
        scale = float(told["threshold"]) / 2 ** (bits - signed)
        return Quantizer(tensor=node.input[0], bits=bits, signed=signed, scale=scale)
    return None


def constants(model: ModelProto) -> dict[str, NDArray[Any]]:
    """The values that a graph brings along, initializers and constants, by name."""
    found = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = numpy_helper.to_array(helper.get_attribute_value(node.attribute[0]))
    return found


def check_input_format(path: Path) -> Quantizer:
    """The quantizer of the network's input. WrongInputFormat unless it is the sensor's: 8 bits, unsigned, 1/256 per code."""
    found = next((each for each in activation_quantizers(path) if each.tensor == INPUT_NAME), None)
    if found is None:
        raise WrongInputFormat(f"{path.name} does not quantize its input", hint="Quantize a network of this platform.")
    if found.bits != 8 or found.signed or not math.isclose(found.scale, INPUT_SCALE):
        sort = "signed" if found.signed else "unsigned"
        raise WrongInputFormat(
            f"the input's quantizer has {found.bits} bits, {sort}, {found.scale:g} per code; the sensor hands over 8 bits, "
            f"unsigned, {INPUT_SCALE:g} per code",
            hint="The calibration windows do not fill the range of 0..255. Choose brighter images, with pixels as they are.",
        )
    return found
