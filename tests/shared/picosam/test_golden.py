"""Golden frames tell a wrong input from the right one."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.contracts.packages import GoldenTolerance
from shared.picosam import golden
from shared.picosam.golden import MISTAKES, Reference, WrongOutputFormat, choose, within

SIZE = 16
STEP = 1 / 128


def network(path, *, kernel=(0.8, -0.5, 0.4), output=TensorProto.INT8, quantized=True):
    """A quantized network of one 1x1 convolution: red, green and blue times ``kernel``."""
    unsigned, signed = np.zeros((), np.uint8), np.zeros((), helper.tensor_dtype_to_np_dtype(output))
    constants = {
        "input_scale": np.float32(1 / 256),
        "input_zero": unsigned,
        "kernel": np.array(kernel, np.float32).reshape(1, 3, 1, 1),
        "output_scale": np.float32(STEP),
        "output_zero": signed,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["window", "input_scale", "input_zero"], ["a"]),
        helper.make_node("DequantizeLinear", ["a", "input_scale", "input_zero"], ["b"]),
        helper.make_node("Conv", ["b", "kernel"], ["c" if quantized else "logits"]),
    ]
    if quantized:
        nodes.append(helper.make_node("QuantizeLinear", ["c", "output_scale", "output_zero"], ["d"]))
        nodes.append(helper.make_node("DequantizeLinear", ["d", "output_scale", "output_zero"], ["logits"]))
    graph = helper.make_graph(
        nodes if quantized else nodes[2:3],
        "golden",
        [helper.make_tensor_value_info("window" if quantized else "b", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1, SIZE, SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, str(path))
    return path


def pictures(count=12):
    return np.random.default_rng(3).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def grey(count=12):
    levels = np.random.default_rng(4).integers(100, 110, (count, 1, 1, 1))
    return np.broadcast_to(levels, (count, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture
def reference(tmp_path):
    return Reference(network(tmp_path / "reference.onnx"), threads=1)


def test_codes_are_what_the_sensor_hands_over(reference):
    windows = pictures(2)
    red, green, blue = np.moveaxis(windows / 256, -1, 0)
    expected = np.clip(np.round((0.8 * red - 0.5 * green + 0.4 * blue) / STEP), -128, 127)
    codes = reference.codes(windows)
    assert (codes.dtype, codes.shape) == (np.int8, (2, SIZE, SIZE))
    assert within(codes, expected.astype(np.int8), 1).min() == 1


def test_answers_without_a_sign_are_unsigned_codes(tmp_path):
    made = network(tmp_path / "unsigned.onnx", kernel=(0.5, 0.5, 0.5), output=TensorProto.UINT8)
    codes = Reference(made, threads=1).codes(pictures(1))
    assert codes.dtype == np.uint8
    assert codes.max() > 128


def test_of_the_candidates_those_are_taken_that_show_mistakes(reference):
    candidates = np.concatenate([grey(8), pictures(4), grey(8)])
    frames = choose(reference, candidates, 4)
    assert np.array_equal(frames.windows, candidates[8:12])
    assert np.array_equal(frames.codes, reference.codes(candidates[8:12]))
    assert frames.step == pytest.approx(STEP)
    least = GoldenTolerance().min_share
    assert all(share < least for share in frames.mistakes.values()), frames.mistakes


def test_every_mistake_fails_the_tolerance_and_the_right_input_does_not(reference):
    frames, tolerance = choose(reference, pictures(), 8), GoldenTolerance()
    assert within(frames.codes, reference.codes(frames.windows), tolerance.max_lsb).mean() == 1
    for name, mistake in MISTAKES.items():
        share = within(frames.codes, reference.codes(mistake(frames.windows)), tolerance.max_lsb).mean()
        assert share == pytest.approx(frames.mistakes[name])
        assert share < tolerance.min_share, name


def test_the_choice_is_a_function_of_its_arguments(reference):
    first, second = choose(reference, pictures(), 3), choose(reference, pictures(), 3)
    assert first.windows.tobytes() == second.windows.tobytes()
    assert first.codes.tobytes() == second.codes.tobytes()


def test_a_network_of_bgr_answers_rgb_windows_as_if_they_were_turned(tmp_path, reference):
    turned = Reference(network(tmp_path / "bgr.onnx", kernel=(0.4, -0.5, 0.8)), bgr=True, threads=1)
    # Sums of floats in another order may fall on the other side of a rounding.
    assert within(turned.codes(pictures()), reference.codes(pictures()), 1).min() == 1


def test_a_network_whose_answers_are_not_quantized_has_no_codes(tmp_path):
    with pytest.raises(WrongOutputFormat, match="not quantized"):
        Reference(network(tmp_path / "float.onnx", quantized=False), threads=1)


def test_mistakes_are_what_they_are_called():
    windows = pictures(1)
    assert np.array_equal(MISTAKES["bgr"](windows)[..., 0], windows[..., 2])
    assert np.array_equal(MISTAKES["shift"](windows)[:, :, 0], windows[:, :, 1])
    assert MISTAKES["contrast"](np.full_like(windows, 148)).max() == 128 + round(20 * golden.CONTRAST)
