"""What quantization does to each layer: bit widths, ranges, and how much noise it adds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, helper
from torch import Tensor, nn
from torch.fx import Interpreter, Node, symbolic_trace

from shared.picosam.export import INPUT_NAME, batches
from shared.picosam.quantization.sensor_files import constants

BATCH: Final = 8
"""Windows at a time: every layer's answer is in memory at once."""

_HOLDER: Final = "_activation_holder_quantizer"
"""Behind the name of the node whose answer it quantizes: the toolkit's module."""

_FOLDED: Final = "_bn"
"""Behind the name of a convolution into which the toolkit folded a BatchNorm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer, in the graph's order."""

    name: str
    """As the float network calls it: encoder_stage1.0; of a function its name in the graph: add_1."""
    kind: str
    """Conv2d, ReLU, Add, ..."""
    weight_bits: int | None = None
    """Of the kernel; None without one."""
    weights: int = 0
    weight_sqnr_db: float | None = None
    """Signal to quantization noise of the kernel."""
    weight_ranges: tuple[float, ...] = ()
    """The largest absolute weight of each output channel."""
    activation_bits: int | None = None
    """Of what the layer hands on; None where the next layer takes it unrounded."""
    activation_sqnr_db: float | None = None
    """Signal to noise of what the layer hands on, the noise of all layers before it included."""
    low: float | None = None
    high: float | None = None
    """Range of what the float layer hands on, over the windows."""
    limit: float | None = None
    """The largest absolute value that its quantizer knows."""

    @property
    def weight_bytes(self) -> int:
        """Of the kernel, at its bits."""
        return -(-self.weights * (self.weight_bits or 0) // 8)


@dataclass(slots=True)
class _Signal:
    """Sums over batches."""

    power: float = 0.0
    noise: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, wanted: NDArray[Any], found: NDArray[Any]) -> None:
        wanted, found = wanted.astype(np.float64), found.astype(np.float64)
        self.power += float(np.square(wanted).sum())
        self.noise += float(np.square(wanted - found).sum())
        self.low, self.high = min(self.low, float(wanted.min())), max(self.high, float(wanted.max()))

    @property
    def sqnr_db(self) -> float | None:
        return sqnr_db(self.power, self.noise)


def sqnr_db(power: float, noise: float) -> float | None:
    """10 log10(power / noise); None where there is no noise or no signal, and so no ratio."""
    return 10 * math.log10(power / noise) if power > 0 and noise > 0 else None


def worst(layers: Iterable[Layer], count: int = 5) -> list[Layer]:
    """The layers whose answers have the most noise, the worst first."""
    measured = [layer for layer in layers if layer.activation_sqnr_db is not None]
    return sorted(measured, key=lambda layer: layer.activation_sqnr_db or 0.0)[:count]


# Of the toolkit's network


def sensor_layers(network: nn.Module, quantized: nn.Module, windows: NDArray[np.uint8]) -> list[Layer]:
    """``network``: as given to the toolkit; ``quantized``: as it came back; windows: uint8 [N, S, S, 3]."""
    names = {path.replace(".", "_"): path for path, _ in network.named_modules()}
    signals = _signals(network, quantized, windows)
    modules = dict(quantized.named_children())
    return [_sensor_layer(name, modules, names, signals) for name in modules if not name.endswith(_HOLDER)] + [
        _function_layer(name, modules, signals) for name in _functions(modules)
    ]


def _functions(modules: Mapping[str, nn.Module]) -> list[str]:
    """Functions are no modules of the toolkit's network, but what they hand on is quantized by one."""
    held = [name.removesuffix(_HOLDER) for name in modules if name.endswith(_HOLDER)]
    return [name for name in held if name not in modules]


def _sensor_layer(
    name: str, modules: Mapping[str, nn.Module], names: Mapping[str, str], signals: Mapping[str, _Signal]
) -> Layer:
    module: Any = modules[name]
    own = name.removesuffix(_FOLDED) if name.removesuffix(_FOLDED) in names else name
    wrapped = "weight" in getattr(module, "weights_quantizers", ())
    kind = type(module.layer if wrapped else module).__name__
    return Layer(
        name=names.get(own, own),
        kind="Input" if kind == "DummyPlaceHolder" else kind,
        **(_kernel(module) if wrapped else {}),
        **_activation(name, modules, signals),
    )


def _function_layer(name: str, modules: Mapping[str, nn.Module], signals: Mapping[str, _Signal]) -> Layer:
    return Layer(name=name, kind=name.partition("_")[0].capitalize(), **_activation(name, modules, signals))


def _kernel(wrapper: Any) -> dict[str, Any]:
    weights, quantizer = wrapper.weight.detach(), wrapper.weights_quantizers["weight"]
    rounded = quantizer(weights)
    return {
        "weight_bits": int(quantizer.num_bits),
        "weights": weights.numel(),
        "weight_sqnr_db": sqnr_db(float(weights.square().sum()), float((weights - rounded).square().sum())),
        "weight_ranges": tuple(weights.flatten(1).abs().amax(1).tolist()),
    }


def _activation(name: str, modules: Mapping[str, nn.Module], signals: Mapping[str, _Signal]) -> dict[str, Any]:
    holder: Any = modules.get(f"{name}{_HOLDER}")
    if holder is None:
        return {}
    quantizer, signal = holder.activation_holder_quantizer, signals.get(name)
    bits = {"activation_bits": int(quantizer.num_bits), "limit": float(np.max(quantizer.threshold_np))}
    if signal is None:  # the toolkit put it in: the float network has nothing to compare it with
        return bits
    return bits | {"activation_sqnr_db": signal.sqnr_db, "low": signal.low, "high": signal.high}


def _signals(network: nn.Module, quantized: nn.Module, windows: NDArray[np.uint8]) -> dict[str, _Signal]:
    """What the float network's nodes hand on, and what the quantizers behind the same nodes make of it."""
    found: dict[str, _Signal] = {}
    recorder = _Recorder(network)
    for batch in map(torch.from_numpy, batches(windows, BATCH)):
        wanted, given = recorder.answers(batch), _quantized_answers(quantized, batch)
        for name in wanted.keys() & given.keys():
            found.setdefault(name, _Signal()).add(wanted[name].numpy(), given[name].numpy())
    return found


class _Recorder(Interpreter):
    """Runs a float network node by node and keeps what each hands on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(symbolic_trace(network))
        self._kept: dict[str, Tensor] = {}

    def run_node(self, n: Node) -> Any:
        answer = super().run_node(n)
        if isinstance(answer, Tensor):
            # A ReLU in place would write over what the node before it handed on: that one has no quantizer of its own.
            self._kept[n.name] = answer
        return answer

    @torch.inference_mode()
    def answers(self, batch: Tensor) -> dict[str, Tensor]:
        self._kept = {}
        self.run(batch)
        return self._kept


@torch.inference_mode()
def _quantized_answers(quantized: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, answer: kept.__setitem__(name, answer)

    hooks = [
        module.register_forward_hook(keep(name.removesuffix(_HOLDER)))
        for name, module in quantized.named_children()
        if name.endswith(_HOLDER)
    ]
    try:
        quantized(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return kept


# Of ONNX Runtime's network


def cpu_layers(network: Path, quantized: Path, windows: NDArray[np.uint8]) -> list[Layer]:
    """``network``: the float model.onnx; ``quantized``: ONNX Runtime's of it; windows: uint8 [N, S, S, 3]."""
    graph = _QdqGraph(onnx.load(str(quantized)))
    floats = onnx.load(str(network))
    producers = {output: node for node in floats.graph.node for output in node.output}
    sites = {tensor: site for tensor, site in graph.sites.items() if tensor in producers or tensor == INPUT_NAME}
    signals = _onnx_signals(floats, graph.model, sites, windows)
    return [_cpu_layer(tensor, site, producers.get(tensor), graph, signals[tensor]) for tensor, site in sites.items()]


@dataclass(frozen=True, slots=True)
class _Site:
    """Where an activation is quantized."""

    answer: str
    """The tensor that holds it afterwards, in float again."""
    bits: int
    limit: float


@dataclass(slots=True)
class _QdqGraph:
    """A graph of QuantizeLinear and DequantizeLinear."""

    model: ModelProto
    constants: dict[str, NDArray[Any]] = field(init=False)
    sites: dict[str, _Site] = field(init=False)
    """By the tensor that is quantized, in the graph's order."""

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.constants = constants(self.model)
        back = {node.input[0]: node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
        self.sites = {
            node.input[0]: _site(back[node.output[0]], *(self.constants[name] for name in node.input[1:3]))
            for node in graph.node
            if node.op_type == "QuantizeLinear" and node.output[0] in back
        }

    def kernel(self, node: Any) -> dict[str, Any]:
        """Of a convolution of the float graph: what became of its kernel."""
        codes = self.constants.get(f"{node.input[1]}_quantized")
        scale = self.constants.get(f"{node.input[1]}_scale")
        if codes is None or scale is None:
            return {}
        ranges = np.abs(codes.astype(np.float64)).reshape(len(codes), -1).max(axis=1) * scale
        return {"weight_bits": 8 * codes.itemsize, "weights": codes.size, "weight_ranges": tuple(ranges.tolist())}


def _site(answer: str, scale: NDArray[Any], zero: NDArray[Any]) -> _Site:
    span = np.iinfo(zero.dtype)
    reach = max(abs(span.min - int(zero)), abs(span.max - int(zero)))
    return _Site(answer, 8 * zero.itemsize, float(reach * scale))


def _cpu_layer(tensor: str, site: _Site, node: Any, graph: _QdqGraph, signal: _Signal) -> Layer:
    return Layer(
        name=_named(node) if node is not None else tensor,
        kind=node.op_type if node is not None else "Input",
        **(graph.kernel(node) if node is not None and node.op_type == "Conv" else {}),
        activation_bits=site.bits,
        activation_sqnr_db=signal.sqnr_db,
        low=signal.low,
        high=signal.high,
        limit=site.limit,
    )


def _named(node: Any) -> str:
    """The module that a node of the float graph was: "/up1/up1.1/up1.1.2/Relu" is up1.1.2."""
    parts = [part for part in node.name.split("/") if part]
    return str(parts[-2] if len(parts) > 1 else parts[-1])


def _onnx_signals(
    floats: ModelProto, quantized: ModelProto, sites: Mapping[str, _Site], windows: NDArray[np.uint8]
) -> dict[str, _Signal]:
    found = {tensor: _Signal() for tensor in sites}
    inner = [tensor for tensor in sites if tensor != INPUT_NAME]
    wanted, given = _session(floats, inner), _session(quantized, [site.answer for site in sites.values()])
    for batch in batches(windows, BATCH):
        feed = {INPUT_NAME: batch}
        answers = dict(zip(inner, wanted.run(inner, feed), strict=True)) | feed
        for tensor, answer in zip(sites, given.run([site.answer for site in sites.values()], feed), strict=True):
            found[tensor].add(answers[tensor], answer)
    return found


def _session(model: ModelProto, tensors: Iterable[str]) -> Any:
    """``model`` with ``tensors`` as further outputs."""
    shown = ModelProto()
    shown.CopyFrom(model)
    there = {output.name for output in shown.graph.output}
    shown.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors if name not in there)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
