"""The int8 network for CPUs, in real ONNX Runtime."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from shared.contracts.quantization import CpuOptions
from shared.picosam.evaluation.networks import OnnxNetwork
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model
from shared.picosam.quantization.cpu import quantize_for_cpu
from shared.picosam.quantization.layers import cpu_layers
from shared.picosam.quantization.upsampling import upsample_by_copies


@pytest.fixture(scope="module")
def windows():
    return np.random.default_rng(0).integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(windows, tmp_path_factory):
    """The float network and the quantized one, and what was reported meanwhile."""
    folder, told = tmp_path_factory.mktemp("int8"), []
    export_onnx(build_model("picosam2", seed=0).eval(), folder / "float.onnx")
    report = lambda phase, done, total: told.append((phase, done, total))  # noqa: E731
    quantize_for_cpu(folder / "float.onnx", folder / "model.onnx", windows, CpuOptions(calibration="minmax"), report)
    return folder / "float.onnx", folder / "model.onnx", told


def test_it_answers_as_the_float_network_does(files, windows):
    first, second, _ = files
    wanted = OnnxNetwork(first, threads=1).logits(windows)
    found = OnnxNetwork(second, quantization="int8", threads=1).logits(windows)
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.98


def test_it_is_small_and_says_what_its_input_means(files):
    first, second, told = files
    assert second.stat().st_size < 1.4e6 < first.stat().st_size / 3
    assert {entry.key: entry.value for entry in onnx.load(second).metadata_props}["input"] == "RGB, pixel/256"
    assert told == [("calibrate", 10, 20), ("calibrate", 20, 20)]


def test_every_convolution_is_computed_in_int8(files):
    graph = onnx.load(files[1]).graph
    quantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 27
    assert all(quantized.issuperset(node.input) for node in convolutions)


def test_upsampling_by_copies_gives_the_same_numbers(files, windows, tmp_path):
    quick = Path(shutil.copy(files[1], tmp_path))
    assert upsample_by_copies(quick) == 4
    assert not {"Resize"} & {node.op_type for node in onnx.load(quick).graph.node}
    answers = [OnnxNetwork(path, quantization="int8", threads=1).logits(windows) for path in (files[1], quick)]
    assert np.array_equal(*answers)
    assert upsample_by_copies(quick) == 0


def test_other_ways_to_resize_are_left_alone(files, tmp_path):
    path = Path(shutil.copy(files[1], tmp_path))
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nearest_mode":
                attribute.s = b"ceil"
    onnx.save(model, path)
    before = path.read_bytes()
    assert upsample_by_copies(path) == 0
    assert path.read_bytes() == before


def test_its_layers_carry_the_float_networks_names(files, windows):
    layers = cpu_layers(*files[:2], windows[:8])
    by_name = {layer.name: layer for layer in layers}
    assert {"encoder_stage1.2", "bottleneck.5", "up1.1.2"} <= set(by_name)
    kernels = [layer for layer in layers if layer.weight_bits is not None]
    assert {layer.weight_bits for layer in kernels} == {8}
    assert all(layer.activation_sqnr_db is None or layer.activation_sqnr_db > 10 for layer in layers)


def test_what_the_reporter_raises_ends_the_work(files, windows, tmp_path):
    def refuse(_phase, _done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_for_cpu(files[0], tmp_path / "model.onnx", windows, CpuOptions(), refuse)
    assert list(tmp_path.iterdir()) == []


def test_entropy_chooses_narrower_ranges_than_all_that_was_seen(files, windows, tmp_path):
    def ranges(path):
        steps = {
            each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer if each.name.endswith("_scale")
        }
        return {name: step for name, step in steps.items() if step.ndim == 0}

    quantize_for_cpu(files[0], tmp_path / "model.onnx", windows, CpuOptions(calibration="entropy"), lambda *_: None)
    whole, chosen = ranges(files[1]), ranges(tmp_path / "model.onnx")
    assert sum(chosen[name] < 0.9 * step for name, step in whole.items()) > 10


def test_any_number_of_windows_calibrates(files, windows, tmp_path):
    quantize_for_cpu(files[0], tmp_path / "model.onnx", windows[:17], CpuOptions(), lambda *_: None)
    assert (tmp_path / "model.onnx").stat().st_size < 1.4e6
