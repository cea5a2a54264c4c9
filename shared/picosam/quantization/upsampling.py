"""Upsampling of int8 networks by copies: ONNX Runtime's Resize takes a fifth of the network's time, four copies next to none.

ONNX Runtime computes int8 convolutions with the channels last. Its fast way of doubling both sides knows only channels first,
so Resize takes 1.6 of 7.8 ms, and on one thread. With the channels last, doubling the columns is each cell's channels twice in
a row, and doubling the rows each row twice: two concatenations of a tensor with itself. The two transpositions round them
cancel with those of the convolutions before and after. The numbers are the same, bit by bit.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper, shape_inference

from shared.picosam.quantization.sensor_files import constants

_DOUBLING: Final = {"mode": b"nearest", "coordinate_transformation_mode": b"asymmetric", "nearest_mode": b"floor"}


def upsample_by_copies(path: Path) -> int:
    """Rewrite the QDQ network at ``path``: each doubling of quantized activations becomes copies. How many did."""
    model = onnx.load(str(path))
    graph = _Graph(model)
    replaced = [node for node in list(model.graph.node) if graph.replace(node)]
    if replaced:
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
    return len(replaced)


class _Graph:
    def __init__(self, model: ModelProto) -> None:
        self._graph = model.graph
        self._maker = {output: node for node in model.graph.node for output in node.output}
        self._users: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)
        inferred = shape_inference.infer_shapes(model).graph.value_info
        self._shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in inferred}
        self._constants = constants(model)

    def replace(self, resize: NodeProto) -> bool:
        """DequantizeLinear, Resize and QuantizeLinear become copies of codes; False for any other node."""
        if resize.op_type != "Resize" or not self._doubles(resize):
            return False
        before, after = self._maker.get(resize.input[0]), self._users.get(resize.output[0], [])
        if before is None or before.op_type != "DequantizeLinear" or [node.op_type for node in after] != ["QuantizeLinear"]:
            return False
        if list(before.input[1:]) != list(after[0].input[1:]):
            return False  # other codes for the same values: these would have to be computed
        copies = self._copies(resize.name, before.input[0], after[0].output[0], self._shapes[resize.input[0]])
        self._put(copies, resize)
        gone = [resize, after[0]] + ([before] if len(self._users[before.output[0]]) == 1 else [])
        for node in gone:
            self._graph.node.remove(node)
        return True

    def _doubles(self, resize: NodeProto) -> bool:
        found: dict[str, Any] = {each.name: helper.get_attribute_value(each) for each in resize.attribute}
        scales = self._constants.get(resize.input[2]) if len(resize.input) == 3 else None
        if scales is None or any(found.get(name) != value for name, value in _DOUBLING.items()):
            return False
        return bool(scales.tolist() == [1, 1, 2, 2])

    def _copies(self, name: str, codes: str, doubled: str, shape: list[int]) -> list[NodeProto]:
        """``codes`` [N, C, H, W] to ``doubled`` [N, C, 2H, 2W]."""
        _, channels, rows, columns = shape
        step = [f"{name}_{number}" for number in range(5)]
        wide = self._constant(f"{name}_wide", [-1, rows, 2 * columns * channels])
        high = self._constant(f"{name}_high", [-1, 2 * rows, 2 * columns, channels])
        return [
            helper.make_node("Transpose", [codes], [step[0]], f"{name}_last", perm=[0, 2, 3, 1]),
            helper.make_node("Concat", [step[0], step[0]], [step[1]], f"{name}_columns", axis=3),
            helper.make_node("Reshape", [step[1], wide], [step[2]], f"{name}_as_rows"),
            helper.make_node("Concat", [step[2], step[2]], [step[3]], f"{name}_rows", axis=2),
            helper.make_node("Reshape", [step[3], high], [step[4]], f"{name}_as_cells"),
            helper.make_node("Transpose", [step[4]], [doubled], f"{name}_first", perm=[0, 3, 1, 2]),
        ]

    def _constant(self, name: str, value: list[int]) -> str:
        self._graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
        return name

    def _put(self, nodes: list[NodeProto], place: NodeProto) -> None:
        """Before ``place``: the graph stays in topological order."""
        at = next(number for number, node in enumerate(self._graph.node) if node.output[0] == place.output[0])
        for number, node in enumerate(nodes):
            self._graph.node.insert(at + number, node)
