"""The quantized ONNX file: whether the converter can take it, and where in it an operator stands, in the network's names."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

from workers.packaging.errors import Fault, bad_model, not_quantized

QUANTIZERS: Final = "mct_quantizers"
"""Domain of the toolkit's quantizers."""
_OURS: Final = "picofleet"
"""The producer that our quantization writes into a network, which it has torch's exporter write."""
_TAKEN: Final = "pytorch"
"""The only producer that the converter takes."""
_MAX_BYTES: Final = 256 * 1024**2
_SHOWN: Final = 5
_LAYER: Final = re.compile(r"^/(?P<layer>[^/]+?)(?P<folded>_bn)?/")
"""The toolkit's name for a layer, and what it puts behind that of one into which it folded a BatchNorm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node that performs an operator, and its layer."""

    operator: str
    node: str
    layer: str | None
    """None for operators that are written as functions."""
    after: str | None
    """The layer whose output it gets; None at the input."""

    def __str__(self) -> str:
        if self.layer is not None:
            return f"{self.operator} in the layer {self.layer}"
        where = f"behind the layer {self.after}" if self.after else "at the input"
        return f"{self.operator} in the node {self.node}, {where}"


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A quantized network, checked, with what messages about it need."""

    model: Any
    input_shape: tuple[int, ...]
    """Batch, channels, height, width; 0 where it is free."""
    layers: Mapping[str, str]
    """The float network's names for its layers, by the toolkit's."""

    def write_for_converter(self, path: Path) -> None:
        """The same network under the producer that the converter asks for."""
        copied = onnx.ModelProto()
        copied.CopyFrom(self.model)
        copied.producer_name = _TAKEN
        path.write_bytes(copied.SerializeToString())

    def places(self, operators: Iterable[str]) -> list[Place]:
        """Where the network uses these operators, in the order of computation."""
        wanted = set(operators)
        return [self._place(node) for node in self.model.graph.node if node.op_type in wanted]

    def described(self, faults: Iterable[Fault]) -> list[str]:
        """What the converter finds against nodes, each with the node's place."""
        nodes = {node.name: node for node in self.model.graph.node}
        return [
            f"{self._place(nodes[fault.node]) if fault.node in nodes else f'{fault.operator} in the node {fault.node}'}: "
            + fault.what
            for fault in faults
        ]

    def _place(self, node: Any) -> Place:
        after = next((layer for layer in map(self._layer, self._upstream(node)) if layer is not None), None)
        return Place(operator=node.op_type, node=node.name or node.output[0], layer=self._layer(node), after=after)

    def _layer(self, node: Any) -> str | None:
        found = _LAYER.match(node.name)
        if found is None or node.domain == QUANTIZERS or node.op_type == "Constant":
            return None
        name, full = found["layer"], found["layer"] + (found["folded"] or "")
        return self.layers.get(full) or self.layers.get(name, name)

    def _upstream(self, node: Any) -> Iterator[Any]:
        """All nodes before this one, the nearest first."""
        producers = {output: each for each in self.model.graph.node for output in each.output}
        waiting, seen = deque(node.input), set(node.input)
        while waiting:
            found = producers.get(waiting.popleft())
            if found is None:
                continue
            yield found
            fresh = [name for name in found.input if name not in seen]
            seen.update(fresh)
            waiting.extend(fresh)


def read_network(path: Path, layers: Iterable[str] = ()) -> NetworkFile:
    """Reads a network for the converter. JobFailed: ``bad_model`` for what is no ONNX file, ``not_quantized`` for other ones.

    ``layers``: the float network's modules, so that places are told by these names; the toolkit's have no dots. The converter's
    own words for such files are "List is empty" and "Unsupported producer".
    """
    model = _load(path)
    graph = model.graph
    if not graph.node or not model.opset_import:
        raise bad_model(f"{path.name} holds no network")
    if not any(node.domain == QUANTIZERS for node in graph.node):
        raise not_quantized(_kind(graph))
    if model.producer_name not in (_OURS, _TAKEN):
        raise bad_model(f"{path.name} was written by {model.producer_name[:100]!r}, not by torch's exporter")
    return NetworkFile(model, _input_shape(graph), {name.replace(".", "_"): name for name in layers})


def some(told: Iterable[object]) -> str:
    """The first few as a sentence's end."""
    words = list(map(str, told))
    return "; ".join(words[:_SHOWN]) + (f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else "")


def _load(path: Path) -> Any:
    if path.stat().st_size > _MAX_BYTES:
        raise bad_model(f"{path.name} is larger than {_MAX_BYTES:,} bytes: nothing of that size fits in the sensor")
    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as exc:
        raise bad_model(f"{path.name} is no ONNX file") from exc


def _kind(graph: Any) -> str:
    operators = {node.op_type for node in graph.node}
    if operators & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}:
        return "quantized for the CPU"
    return "a float network"


def _input_shape(graph: Any) -> tuple[int, ...]:
    weights = {weight.name for weight in graph.initializer}
    inputs = [found for found in graph.input if found.name not in weights]
    return tuple(size.dim_value for size in inputs[0].type.tensor_type.shape.dim) if inputs else ()
