"""Networks in both runtimes on prepared windows; what is asked once and what is asked again."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.contracts.training import Compute
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam import metrics
from shared.picosam.baselines import ellipse
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.errors import BadWeights
from shared.picosam.evaluate import evaluate
from shared.picosam.evaluation.answers import Answers, Stopped, ask, ask_under_all, draw_all, ious, rows_to_ask, truth_bits
from shared.picosam.evaluation.breakdown import Asked, figures_of, iou_by_category, mask_ap_of
from shared.picosam.evaluation.networks import OnnxNetwork, TorchNetwork
from shared.picosam.evaluation.plots import extremes
from shared.picosam.export import INPUT_NAME, export_onnx
from shared.picosam.model import build_model
from shared.picosam.placement import place
from shared.picosam.prompt import to_input
from tests.shared.picosam.conftest import lived_in

PLACEMENT = place(Compute(device="cpu", threads=1))


@pytest.fixture(scope="module")
def model():
    return lived_in(build_model("picosam2", seed=7))


@pytest.fixture(scope="module")
def onnx_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(model, path)
    return path


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """By prompt and border rule."""
    folder = tmp_path_factory.mktemp("shapes")
    generate(GeneratorSource(images=6, width=200, height=160, max_objects=4, seed=5), folder)
    split = SplitSource(split="val", images="images", annotations="instances.json")
    imported = import_dataset(folder, FolderSource(root=str(folder), splits=[split]), None, "shapes", folder)

    def cut(prompt, border):
        policy = ShardPolicy(window=WindowPolicy(prompt=prompt, border=border))
        target = folder / f"{prompt}-{border}"
        return prepare(imported.manifest_path, folder, "val", policy, target, digest=imported.digest)

    return {(prompt, border): cut(prompt, border) for prompt in ("point", "box") for border in Border}


def under_all(windows, prompt="point"):
    return {border: windows[prompt, border] for border in Border}


class Counting:
    """Counts what a network is asked."""

    def __init__(self, network):
        self.network, self.windows = network, 0

    def logits(self, images):
        self.windows += len(images)
        return self.network.logits(images)


@pytest.mark.parametrize("prompt", ["point", "box"])
def test_a_window_that_rules_cut_alike_is_asked_once_and_answers_are_as_if_asked_each_time(windows, model, prompt):
    readers, network = under_all(windows, prompt), Counting(TorchNetwork(model, PLACEMENT))
    found = ask_under_all(network, readers)
    different = {(tuple(window), row) for reader in readers.values() for row, window in enumerate(reader.window.tolist())}
    assert network.windows == len(different) < 4 * len(readers[Border.PAD])
    assert network.windows == sum(rows_to_ask(readers, border).size for border in readers)
    for border, reader in readers.items():
        alone = ask(network, reader, np.arange(len(reader)))
        assert ious(found[border].bits, truth_bits(reader)) == pytest.approx(ious(alone.bits, truth_bits(reader)), abs=1e-3)
        np.testing.assert_allclose(found[border].confidence, alone.confidence, atol=1e-5)
        np.testing.assert_allclose(found[border].soft_iou, alone.soft_iou, atol=1e-5)


def test_figures_equal_those_of_a_training(windows, model):
    reader = windows["point", Border.AUTHORS]
    wanted = evaluate(model, reader, PLACEMENT, batch_size=8)
    answers = ask(TorchNetwork(model, PLACEMENT), reader, np.arange(len(reader)))
    found = ious(answers.bits, truth_bits(reader))
    np.testing.assert_array_equal(found, wanted.iou)
    np.testing.assert_allclose(answers.confidence, wanted.confidence, rtol=1e-12)
    np.testing.assert_allclose(answers.soft_iou, wanted.soft_iou, rtol=1e-6)
    np.testing.assert_array_equal(answers.area, wanted.area)
    assert 0 < answers.area.max() <= 1
    asked = Asked("96", Border.AUTHORS, reader, truth_bits(reader))
    scores = metrics.scores(wanted.iou, border=Border.AUTHORS, clipped=reader.clipped, has_object=wanted.has_object)
    assert scores.items() <= figures_of(asked, found).items()


def test_both_runtimes_agree(windows, model, onnx_file):
    images, _ = windows["point", Border.PAD].windows(np.arange(4))
    in_torch, in_onnx = TorchNetwork(model, PLACEMENT), OnnxNetwork(onnx_file, threads=1)
    np.testing.assert_allclose(in_onnx.logits(images), in_torch.logits(images), rtol=1e-4, atol=1e-4)


class _Calibration(CalibrationDataReader):
    def __init__(self, images):
        self._left = [{INPUT_NAME: to_input(images)}]

    def get_next(self):
        return self._left.pop() if self._left else None


@pytest.fixture(scope="module")
def quantized_file(windows, onnx_file):
    images, _ = windows["point", Border.PAD].windows(np.arange(8))
    path = onnx_file.with_name("int8.onnx")
    # Kernels of 7 bits: without VNNI ONNX Runtime adds pairs of products in 16 bits, and those of this network overflow.
    types = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "reduce_range": True}
    quantize_static(onnx_file, path, _Calibration(images), quant_format=QuantFormat.QDQ, per_channel=True, **types)
    return path


@pytest.mark.parametrize("quantization", ["int8", "fake_quant"])
def test_quantized_networks_run_and_answer_much_like_the_float_one(windows, onnx_file, quantized_file, quantization):
    reader = windows["point", Border.PAD]
    images, _ = reader.windows(np.arange(len(reader)))
    wanted = OnnxNetwork(onnx_file, threads=1).logits(images) > 0
    found = OnnxNetwork(quantized_file, quantization=quantization, threads=1).logits(images) > 0
    assert (wanted == found).mean() > 0.9


def test_a_fake_quantized_network_is_not_quantized_anew(quantized_file, monkeypatch):
    asked = []
    session = onnxruntime.InferenceSession

    def opened(*arguments, disabled_optimizers, **settings):
        asked.append(disabled_optimizers)
        return session(*arguments, disabled_optimizers=disabled_optimizers, **settings)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    for quantization in (None, "int8", "fake_quant"):
        OnnxNetwork(quantized_file, quantization=quantization, threads=1)
    assert asked == [[], [], ["WeightBiasQuantization"]]


def test_a_damaged_or_foreign_file_is_refused(onnx_file, tmp_path):
    (tmp_path / "cut.onnx").write_bytes(onnx_file.read_bytes()[:5000])
    with pytest.raises(BadWeights, match="cannot be run"):
        OnnxNetwork(tmp_path / "cut.onnx", threads=1)
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 5]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", values[:1], values[1:])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), str(tmp_path / "foreign.onnx"))
    with pytest.raises(BadWeights, match=r"takes windows \[N, 3, S, S\]"):
        OnnxNetwork(tmp_path / "foreign.onnx", threads=1)


def test_a_network_that_answers_nan_is_refused(windows, model):
    class Broken:
        def logits(self, images):
            return np.full(images.shape[:3], np.nan, np.float32)

    with pytest.raises(ValueError, match="answers NaN to prompt"):
        ask(Broken(), windows["point", Border.PAD], np.arange(2))


def test_it_stops_between_two_batches(windows, model):
    with pytest.raises(Stopped):
        ask(TorchNetwork(model, PLACEMENT), windows["point", Border.PAD], np.arange(4), stop_requested=lambda: True)


def test_ious_of_empty_masks():
    empty, full = np.zeros((1, 4), np.uint8), np.full((1, 4), 255, np.uint8)
    assert [ious(*pair)[0] for pair in ((empty, empty), (full, empty), (empty, full), (full, full))] == [1, 0, 0, 1]


def test_perfect_answers_have_full_marks_by_every_measure(windows):
    reader = windows["box", Border.PAD]
    asked = Asked("box", Border.PAD, reader, truth_bits(reader))
    perfect = Answers(asked.truth, np.ones(len(reader)), np.ones(len(reader)))
    found = figures_of(asked, ious(perfect.bits, asked.truth))
    assert found["miou_box_pad"] == found["hit_rate_50_95_box_pad"] == 1
    assert mask_ap_of(asked, perfect)["mask_ap_50_box_pad"] > 0.9  # objects wider than the input lose their outline
    bands = iou_by_category(asked, ious(perfect.bits, asked.truth), {1: "thing"})
    assert sum(band.samples for band in bands.values()) == len(reader)


def test_an_ellipse_in_the_box_is_scored_like_a_network(windows):
    reader = windows["box", Border.PAD]
    found = ious(draw_all(ellipse, reader).bits, truth_bits(reader))
    assert 0.3 < found.mean() <= 1
    with pytest.raises(ValueError, match="points"):
        draw_all(ellipse, windows["point", Border.PAD])


def test_extremes_are_ordered_and_do_not_overlap():
    values = torch.linspace(0, 1, 11).flip(0).double().numpy()
    found = extremes(values, 2)
    assert (found["worst"], found["best"]) == ([10, 9], [1, 0])
    assert not set(found["median"]) & {10, 9, 1, 0}
    assert {name: len(rows) for name, rows in extremes(values, 0).items()} == {"worst": 0, "median": 0, "best": 0}
