"""Weights out of an ONNX file, whose names say little: by shape, and proved by running the file.

Exporters fold BatchNorm into convolutions and rename what is left, but no two convolutions of a network here have the same
weight shape and dilation. So these find the weights, and equal outputs on trial windows prove that the rest of the graph is
this network too.
The file is hostile: nothing outside it is read, and it is run only if its operators are among a few harmless ones, its
convolutions are the network's own, and all intermediate results are of known, modest size.
"""

from collections.abc import Iterator
from math import prod
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.picosam.errors import BadWeights
from shared.picosam.model import IMAGENET_MEAN, IMAGENET_STD
from shared.picosam.prompt import INPUT_SCALE, INPUT_SIZE

OPERATORS: Final = frozenset(
    {
        *("Add", "BatchNormalization", "Constant", "Conv", "Identity", "Relu", "Resize", "Upsample"),
        *("GlobalAveragePool", "ReduceMean", "Sigmoid", "Mul"),  # PicoSAM3's channel attention
    }
)
MAX_NODES: Final = 1000
MAX_CELLS: Final = 2**22
"""Of one intermediate result for one window; the largest of PicoSAM2 has 0.74 million, of its wide form 1.11 million."""
TOLERANCE: Final = 1e-3
"""Of the logits, absolute and relative: more than folding BatchNorms and another runtime's order of sums cost."""

_EXPORT_HINT: Final = "Export the float network itself, without pre- or post-processing, for 96x96 RGB windows."
_EPSILON: Final = nn.BatchNorm2d(1).eps
Array = NDArray[np.float32]


def parse_network(content: bytes) -> onnx.ModelProto:
    """A checked graph that is safe to run on one window. BadWeights otherwise."""
    try:
        network = onnx.load_model_from_string(content)
        onnx.checker.check_model(network)
    except Exception as error:  # the errors of protobuf and of the checker share no other base
        hint = "Check that the upload was complete and that it is one ONNX file with its weights inside."
        raise BadWeights(f"This is not a valid ONNX file: {str(error)[:300]}", hint=hint) from error
    _check_inside(network)
    _check_operators(network)
    _check_sizes(network)
    return network


def network_state(network: onnx.ModelProto, model: nn.Module) -> dict[str, Tensor]:
    """A state dict for ``model``; BatchNorms that were folded come back as ones that only add the folded shift.

    An inner normalisation is part of it if the graph begins with one. BadWeights if a convolution has no counterpart.
    """
    graph = _Graph(network)
    wanted = {(tuple(layer[1].weight.shape), tuple(layer[1].dilation)): layer for layer in _layers(model)}
    found = {(graph.constant(node, 1).shape, _dilation(node)): node for node in graph.of_type("Conv")}
    if set(wanted) != set(found) or len(graph.of_type("Conv")) != len(wanted):
        strange = sorted(_kernel(*kernel) for kernel in set(wanted) ^ set(found))[:5]
        raise BadWeights(
            f"The graph's convolutions are not this network's: {', '.join(strange)}.", hint="Check the architecture."
        )
    state = graph.input_norm()
    for kernel, layer in wanted.items():
        state |= graph.layer(found[kernel], *layer)
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def prove_equal(network: onnx.ModelProto, model: nn.Module, *, normalised: bool) -> None:
    """Runs the file and ``model`` on trial windows. BadWeights if they disagree.

    ``normalised``: the file expects ImageNet-normalised input, where ``model`` takes pixel/256.
    """
    fixed = _for_one_window(network)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(fixed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        differ = any(not _agree(session, model, window, normalised=normalised) for window in _trial_windows())
    except Exception as error:  # the runtime's own errors share no other base
        raise BadWeights(f"The graph cannot be run: {str(error)[:300]}", hint=_EXPORT_HINT) from error
    if differ:
        hint = "Check the architecture and the input scale (pixel/256, or ImageNet's mean and deviation)."
        raise BadWeights("The file's output differs from this network's with the same weights.", hint=hint)


class _Graph:
    """Looks up a graph's constants, and what consumes what. Identity nodes are looked through."""

    def __init__(self, network: onnx.ModelProto) -> None:
        self._nodes = list(network.graph.node)
        self._same = {node.output[0]: node.input[0] for node in self._nodes if node.op_type == "Identity"}
        self._constants = {tensor.name: tensor for tensor in network.graph.initializer}
        stored = [(node, attribute) for node in self.of_type("Constant") for attribute in node.attribute]
        self._constants |= {node.output[0]: attribute.t for node, attribute in stored if attribute.name == "value"}
        self._input = _inputs(network)[0].name

    def of_type(self, operator: str) -> list[onnx.NodeProto]:
        """The nodes with that operator, in the file's order."""
        return [node for node in self._nodes if node.op_type == operator]

    def constant(self, node: onnx.NodeProto, position: int) -> Array:
        """The value of a node's input, in float32. BadWeights if it is computed or malformed."""
        name = self._origin(node.input[position])
        if name not in self._constants:
            raise BadWeights(f"A weight of {node.op_type} {node.name[:80]!r} is computed, not stored.", hint=_EXPORT_HINT)
        try:
            return np.asarray(onnx.numpy_helper.to_array(self._constants[name]), dtype=np.float32)
        except (ValueError, TypeError, KeyError) as error:
            raise BadWeights(f"The weight {name[:80]!r} is malformed: {error}", hint="Export the network again.") from error

    def input_norm(self) -> dict[str, Array]:
        """The state of the inner normalisation if a BatchNormalization takes the graph's input, else nothing."""
        for node in self.of_type("BatchNormalization"):
            if self._origin(node.input[0]) == self._input:
                return _without_affine("input_norm", *self._norm_values(node))
        return {}

    def layer(self, conv: onnx.NodeProto, name: str, module: nn.Conv2d, norm_name: str | None) -> dict[str, Array]:
        """The state of a convolution, and of the BatchNorm behind it if the model has one there."""
        weight = self.constant(conv, 1)
        bias = self.constant(conv, 2) if len(conv.input) > 2 else np.zeros(weight.shape[0], dtype=weight.dtype)
        if norm_name is None:
            return {f"{name}.weight": weight} | ({f"{name}.bias": bias} if module.bias is not None else {})
        return {f"{name}.weight": weight} | self._norm(conv, norm_name, bias)

    def _norm(self, conv: onnx.NodeProto, name: str, bias: Array) -> dict[str, Array]:
        """The BatchNorm node behind ``conv``; if it was folded, one that adds ``bias`` and changes nothing else."""
        scale, shift, mean, variance = np.ones_like(bias), bias, np.zeros_like(bias), np.full_like(bias, 1 - _EPSILON)
        for node in self.of_type("BatchNormalization"):
            if self._origin(node.input[0]) == conv.output[0]:
                scale, shift, mean, variance = self._norm_values(node)
                mean = mean - bias
        return {f"{name}.weight": scale, f"{name}.bias": shift, f"{name}.running_mean": mean, f"{name}.running_var": variance}

    def _norm_values(self, node: onnx.NodeProto) -> tuple[Array, Array, Array, Array]:
        """Scale, shift, mean and variance; the latter as if the node had torch's epsilon."""
        epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
        scale, shift, mean, variance = (self.constant(node, position) for position in (1, 2, 3, 4))
        return scale, shift, mean, variance + np.float32(epsilon - _EPSILON)

    def _origin(self, name: str) -> str:
        while name in self._same:  # the checker has made sure that nodes only look back
            name = self._same[name]
        return name


def _without_affine(name: str, scale: Array, shift: Array, mean: Array, variance: Array) -> dict[str, Array]:
    """The same map as a BatchNorm that has no scale and shift of its own."""
    if not (scale > 0).all():
        raise BadWeights("The inner normalisation has a scale that is not positive.", hint=_EXPORT_HINT)
    deviation: Array = np.sqrt(variance + np.float32(_EPSILON)) / scale
    return {f"{name}.running_mean": mean - shift * deviation, f"{name}.running_var": deviation**2 - np.float32(_EPSILON)}


def _dilation(conv: onnx.NodeProto) -> tuple[int, ...]:
    """As written in the node; (1, 1) where it says nothing."""
    return next((tuple(attribute.ints) for attribute in conv.attribute if attribute.name == "dilations"), (1, 1))


def _kernel(shape: tuple[int, ...], dilation: tuple[int, ...]) -> str:
    """A convolution as people speak of it."""
    return f"{shape}" if set(dilation) == {1} else f"{shape} with dilation {dilation}"


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str | None]]:
    """Each convolution, with the name of the BatchNorm that follows it if there is one."""
    modules = list(model.named_modules())
    for (name, module), (next_name, following) in zip(modules, [*modules[1:], ("", model)], strict=True):
        if isinstance(module, nn.Conv2d):
            yield name, module, next_name if isinstance(following, nn.BatchNorm2d) else None


def _inputs(network: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The graph's inputs but those that are weights, as old exporters list them."""
    weights = {tensor.name for tensor in network.graph.initializer}
    return [value for value in network.graph.input if value.name not in weights]


def _check_inside(network: onnx.ModelProto) -> None:
    """All weights lie in this file, densely."""
    constants = [attribute for node in network.graph.node for attribute in node.attribute]
    tensors = [*network.graph.initializer, *(attribute.t for attribute in constants if attribute.HasField("t"))]
    if any(tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
        raise BadWeights("Weights lie in a second file.", hint="Export to one file, with the weights inside.")
    if network.graph.sparse_initializer or any(attribute.HasField("sparse_tensor") for attribute in constants):
        raise BadWeights("The graph has sparse weights.", hint=_EXPORT_HINT)


def _check_operators(network: onnx.ModelProto) -> None:
    nodes = network.graph.node
    strange = sorted({node.op_type for node in nodes if node.op_type not in OPERATORS or node.domain not in ("", "ai.onnx")})
    if strange:
        raise BadWeights(f"The graph has operators that no network here has: {', '.join(strange)[:300]}.", hint=_EXPORT_HINT)
    if network.functions or len(nodes) > MAX_NODES:
        raise BadWeights(f"The graph has functions or more than {MAX_NODES} nodes.", hint=_EXPORT_HINT)
    if len(_inputs(network)) != 1 or len(network.graph.output) != 1:
        raise BadWeights("The graph must have one input and one output.", hint=_EXPORT_HINT)


def _check_sizes(network: onnx.ModelProto) -> None:
    """The size of every result for one window is known beforehand and modest."""
    fixed = _for_one_window(network)
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # as in parse_network
        raise BadWeights(f"The graph does not take 96x96 RGB windows: {str(error)[:300]}", hint=_EXPORT_HINT) from error
    cells = {value.name: _cells(value) for value in (*inferred.graph.value_info, *inferred.graph.output)}
    for name in (name for node in fixed.graph.node for name in node.output if name):
        if not 0 < cells.get(name, 0) <= MAX_CELLS:
            raise BadWeights(f"The result {name[:80]!r} is of unknown or excessive size.", hint=_EXPORT_HINT)


def _for_one_window(network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose input is one window, float [1, 3, 96, 96], and whose other declared shapes are forgotten."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(network)
    del fixed.graph.value_info[:]
    window, output = _inputs(fixed)[0], fixed.graph.output[0]
    shape = [1, 3, INPUT_SIZE, INPUT_SIZE]
    window.CopyFrom(onnx.helper.make_tensor_value_info(window.name, onnx.TensorProto.FLOAT, shape))
    output.CopyFrom(onnx.helper.make_tensor_value_info(output.name, onnx.TensorProto.FLOAT, None))
    return fixed


def _cells(value: onnx.ValueInfoProto) -> int:
    """Elements of a result; 0 if a dimension is not known."""
    tensor = value.type.tensor_type
    return prod(dimension.dim_value for dimension in tensor.shape.dim) if tensor.HasField("shape") else 0


def _trial_windows() -> Array:
    """Four windows of noise, float32 [4, 1, 3, 96, 96] in pixel/256, each at another contrast."""
    random = np.random.default_rng(0)
    levels = np.array([4, 32, 128, 256]).reshape(4, 1, 1, 1, 1)
    pixels: Array = np.floor(random.random((4, 1, 3, INPUT_SIZE, INPUT_SIZE)) * levels)
    return pixels.astype(np.float32) * np.float32(INPUT_SCALE)


def _agree(session: onnxruntime.InferenceSession, model: nn.Module, window: Array, *, normalised: bool) -> bool:
    mean, std = (np.array(values, dtype=np.float32).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    taken = (window / np.float32(255 * INPUT_SCALE) - mean) / std if normalised else window
    found = session.run(None, {session.get_inputs()[0].name: taken})[0]
    with torch.inference_mode():
        wanted = model(torch.from_numpy(window)).numpy()
    return bool(found.shape == wanted.shape and np.allclose(found, wanted, rtol=TOLERANCE, atol=TOLERANCE))
