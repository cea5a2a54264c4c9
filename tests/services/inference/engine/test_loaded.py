"""Versions are checked before they answer anybody."""

import json
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest

from services.inference.engine.errors import Unusable, WrongDigest, WrongNetwork
from services.inference.engine.loaded import load
from shared.contracts.base import digest_of_file
from shared.contracts.deployments import Engine

OTHER = "sha256:" + "0" * 64


def loaded(folder, *, engine=Engine.ONNXRUNTIME, digest=None):
    return load(folder, "net/1", engine, digest=digest, threads=1, processors=2)


@pytest.fixture
def folder(networks, tmp_path):
    """A model folder of the test's own."""
    return shutil.copytree(networks(), tmp_path / "network")


@pytest.mark.parametrize("engine", list(Engine))
def test_a_version_answers_each_window_alike_alone_and_beside_others(networks, engine):
    version = loaded(networks(), engine=engine)
    windows = np.random.default_rng(5).integers(0, 256, (19, 96, 96, 3), np.uint8)
    together = version.logits(windows)
    assert together.shape == (19, 96, 96)
    assert np.allclose(version.logits(windows[7:8], alone=True)[0], together[7], atol=1e-3)
    assert version.golden_iou == pytest.approx(1, abs=0.01)


def test_a_network_with_another_digest_than_the_registered_one_is_refused(folder):
    assert loaded(folder, digest=digest_of_file(folder / "model.onnx"))
    with pytest.raises(WrongDigest, match=OTHER):
        loaded(folder, digest=OTHER)


def test_a_network_that_was_exchanged_after_the_card_was_written_is_refused(folder, networks):
    shutil.copyfile(networks(1) / "model.onnx", folder / "model.onnx")
    with pytest.raises(WrongDigest):
        loaded(folder)


def test_a_network_that_answers_its_golden_windows_otherwise_is_refused(folder, networks):
    card = json.loads((folder / "serving.json").read_text())
    card["golden"] = json.loads((networks(1) / "serving.json").read_text())["golden"]
    (folder / "serving.json").write_text(json.dumps(card))
    with pytest.raises(WrongNetwork, match="golden"):
        loaded(folder)


def test_a_version_without_a_card_is_served_without_golden_check(folder):
    (folder / "serving.json").unlink()
    assert loaded(folder).golden_iou is None


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\x08\x07" * 1000])
def test_a_damaged_network_is_refused(folder, content):
    (folder / "serving.json").unlink()
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(WrongNetwork):
        loaded(folder)


def test_a_graph_that_is_no_segmentation_of_windows_is_refused(folder):
    (folder / "serving.json").unlink()
    one = onnx.helper.make_tensor_value_info("window", onnx.TensorProto.FLOAT, ["n", 3, 96, 96])
    other = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["n", 3, 96, 96])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["window"], ["logits"])], "g", [one], [other])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), folder / "model.onnx")
    with pytest.raises(WrongNetwork):
        loaded(folder)


@pytest.mark.parametrize("config", ["", "{", '{"input_size": 1}', '{"input": "imagenet"}'])
def test_a_strange_configuration_is_refused(folder, config):
    (folder / "config.json").write_text(config)
    with pytest.raises(Unusable, match=r"config\.json"):
        loaded(folder)


def test_a_loaded_version_keeps_no_memory_of_the_large_runs_that_it_was_tried_with(networks):
    code = (
        "import sys, psutil; from pathlib import Path; from services.inference.engine.loaded import load\n"
        "from shared.contracts.deployments import Engine\n"
        "before = psutil.Process().memory_info().rss\n"
        "version = load(Path(sys.argv[1]), 'net/1', Engine.ONNXRUNTIME, digest=None, threads=1, processors=2)\n"
        "print((psutil.Process().memory_info().rss - before) / 2**20 - 20 * version.step)"
    )
    told = subprocess.run([sys.executable, "-c", code, networks()], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 110  # 370 with the memory of 16 windows in one of the sessions
