"""The quantized ONNX file: whether the converter can take it, and where in it an operator stands, in the network's names."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

from workers.packaging.errors import bad_model, not_quantized

QUANTIZERS: Final = "mct_quantizers"
"""Domain of the toolkit's quantizers."""
_MAX_BYTES: Final = 256 * 1024**2
_SHOWN: Final = 5
_LAYER: Final = re.compile(r"^/(?P<layer>[^/]+?)(?:_bn)?/")


@dataclass(frozen=True, slots=True)
class Place:
    """A node that performs an operator, and the layer whose output it gets (None: it stands at the input)."""

    operator: str
    node: str
    after: str | None

    def __str__(self) -> str:
        where = f"behind the layer {self.after}" if self.after else "at the input"
        return f"{self.operator} in the node {self.node}, {where}"


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """A quantized network, checked, with what messages about it need."""

    path: Path
    input_shape: tuple[int, ...]
    """Batch, channels, height, width; 0 where it is free."""
    graph: Any

    def places(self, operators: set[str]) -> list[Place]:
        """Where the network uses these operators, in the order of computation."""
        producers = {output: node for node in self.graph.node for output in node.output}
        return [
            Place(node.op_type, node.name or node.output[0], _layer_before(node, producers))
            for node in self.graph.node
            if node.op_type in operators
        ]


def read_network(path: Path) -> NetworkFile:
    """Reads a network for the converter. JobFailed: ``bad_model`` for what is no ONNX file, ``not_quantized`` for other ones.

    The converter's own words for these are "List is empty" and "Unsupported producer".
    """
    if path.stat().st_size > _MAX_BYTES:
        raise bad_model(f"{path.name} is larger than {_MAX_BYTES:,} bytes: nothing of that size fits in the sensor")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as exc:
        raise bad_model(f"{path.name} is no ONNX file") from exc
    graph = model.graph
    if not graph.node:
        raise bad_model(f"{path.name} holds no network")
    if not any(node.domain == QUANTIZERS for node in graph.node):
        raise not_quantized(_kind(graph))
    return NetworkFile(path, _input_shape(graph), graph)


def describe(places: list[Place]) -> str:
    """The first few as a sentence's end."""
    shown = "; ".join(map(str, places[:_SHOWN]))
    return shown + (f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")


def _kind(graph: Any) -> str:
    operators = {node.op_type for node in graph.node}
    if operators & {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"}:
        return "quantized for the CPU"
    return "a float network"


def _input_shape(graph: Any) -> tuple[int, ...]:
    weights = {weight.name for weight in graph.initializer}
    inputs = [found for found in graph.input if found.name not in weights]
    return tuple(size.dim_value for size in inputs[0].type.tensor_type.shape.dim) if inputs else ()


def _layer_before(node: Any, producers: Mapping[str, Any]) -> str | None:
    """The nearest layer upstream, breadth first: operators written as functions have no name of their own."""
    waiting, seen = deque(node.input), set(node.input)
    while waiting:
        found = producers.get(waiting.popleft())
        if found is None:
            continue
        layer = _LAYER.match(found.name)
        if layer is not None and found.domain != QUANTIZERS and found.op_type != "Constant":
            return layer["layer"]
        fresh = [name for name in found.input if name not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return None
