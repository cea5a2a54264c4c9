"""A small network as fake-quantized ones are, with golden frames that are its own answers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.camera.proof import codes_of
from shared.contracts.packages import GoldenFrames
from shared.picosam.onnx_session import open_session

STEP = 0.03125


def write_network(path: Path) -> Path:
    """Weighs red against green and blue at 3 x 3 pixels, and answers in codes of 8 bits: 96 x 96 as the sensor's."""
    weights = np.zeros((1, 3, 3, 3), np.float32)
    weights[0, :, 1, 1] = (6.0, -4.0, -1.0)
    weights[0, :, 0, 1] = (1.0, 0.5, -0.5)
    scale, zero = numpy_helper.from_array(np.float32(STEP), "scale"), numpy_helper.from_array(np.int8(0), "zero")
    nodes = [
        helper.make_node("Conv", ["input", "weights"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["map", "scale", "zero"], ["codes"]),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["output"]),
    ]
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", c, 96, 96]) for name, c in (("input", 3), ("output", 1))
    ]
    graph = helper.make_graph(
        nodes, "small", shapes[:1], shapes[1:], [numpy_helper.from_array(weights, "weights"), scale, zero]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def network_contents(folder: Path) -> dict[str, Any]:
    """Of a package with that network."""
    session = open_session(write_network(folder / "reference.onnx"), quantization="fake_quant", threads=1)
    inputs = np.random.default_rng(3).integers(0, 256, (4, 96, 96, 3), np.uint8)
    planes = inputs.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(256)
    (answers,) = session.run(None, {"input": planes})
    described = GoldenFrames.model_validate(
        {
            "input": {"path": "golden/inputs.bin", "dtype": "uint8", "shape": [4, 96, 96, 3]},
            "output": {"path": "golden/outputs.bin", "dtype": "int8", "shape": [4, 96, 96]},
            "output_scale": STEP,
        }
    )
    return {
        "reference.onnx": (folder / "reference.onnx").read_bytes(),
        "golden/golden.json": described.model_dump_json().encode(),
        "golden/inputs.bin": inputs.tobytes(),
        "golden/outputs.bin": codes_of(answers, described),
    }
