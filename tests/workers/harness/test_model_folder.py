"""What is written beside a network, and what serving.json says of it."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from shared.contracts.base import digest_of
from shared.contracts.serving import CONFIG_FILE, NETWORK_FILE, SERVING_FILE, ServedConfig, ServingCard
from shared.picosam.calibrating import Confidence, Judged, measure
from shared.picosam.evaluation.networks import OnnxNetwork
from shared.picosam.model import build_model
from shared.picosam.weights import ModelConfig
from tests.shared.picosam.conftest import lived_in
from workers.harness.model_folder import describe_folder, write_model_folder


def pictures(count=12):
    """Bright discs of all sizes on dark noise; the last two windows are black."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:96, :96] - 48
    drawn = random.integers(0, 60, (count, 96, 96, 3), dtype=np.uint8)
    for number, image in enumerate(drawn[:-2]):
        image[np.hypot(rows, columns) < 4 + 4 * number] += np.uint8(150)
    drawn[-2:] = 0
    return drawn


@pytest.fixture(scope="module")
def measured():
    soft = np.linspace(0.1, 0.9, 200)
    return measure(Judged(soft_iou=soft, iou=soft**2, area=soft / 2, image_id=np.arange(200) // 4))


@pytest.fixture(scope="module")
def written(tmp_path_factory, measured):
    folder = tmp_path_factory.mktemp("model")
    model = lived_in(build_model("picosam2", seed=7))
    return folder, *write_model_folder(folder, model, ModelConfig(), pictures(), confidence=measured)


def pixels(text):
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
        assert picture.format == "PNG"
        return picture.mode, np.asarray(picture)


def test_the_card_names_the_network_by_its_bytes_and_holds_what_was_measured(written, measured):
    folder, agreement, card = written
    assert agreement.holds
    assert ServingCard.model_validate_json((folder / SERVING_FILE).read_bytes()) == card
    assert card.network_digest == digest_of((folder / NETWORK_FILE).read_bytes())
    assert (card.calibration, card.reference) == (measured.calibration, measured.reference)
    assert ServedConfig.model_validate_json((folder / CONFIG_FILE).read_bytes()) == ServedConfig()


def test_golden_masks_are_what_onnx_runtime_answers_to_the_golden_windows(written):
    folder, _, card = written
    windows, masks = ([pixels(getattr(each, name)) for each in card.golden] for name in ("window", "mask"))
    assert {mode for mode, _ in windows} == {"RGB"}
    assert {mode for mode, _ in masks} == {"1"}
    asked = np.stack([window for _, window in windows])
    assert np.array_equal(OnnxNetwork(folder / NETWORK_FILE, threads=1).logits(asked) > 0, [mask for _, mask in masks])
    assert {window.tobytes() for window in asked} < {window.tobytes() for window in pictures()}


def test_golden_windows_are_four_with_masks_of_different_sizes(written):
    areas = [int(pixels(each.mask)[1].sum()) for each in written[2].golden]
    assert len(areas) == 4
    assert all(areas)
    assert areas == sorted(set(areas))


def test_the_size_that_mlflow_is_told_counts_the_card(written):
    folder = written[0]
    size = int(next(line for line in (folder / "MLmodel").read_text().splitlines() if "size_bytes" in line).split()[1])
    assert size == sum(file.stat().st_size for file in folder.iterdir() if file.name != "MLmodel")


def test_a_network_without_validation_windows_has_a_card_without_figures(written, tmp_path):
    (tmp_path / NETWORK_FILE).write_bytes((written[0] / NETWORK_FILE).read_bytes())
    describe_folder(tmp_path, ModelConfig(), pictures(3))
    card = json.loads((tmp_path / SERVING_FILE).read_text())
    assert (card["calibration"], card["reference"]) == (None, None)
    assert len(card["golden"]) == 3


def test_a_reference_stays_where_there_is_too_little_for_a_calibration(written, measured, tmp_path):
    (tmp_path / NETWORK_FILE).write_bytes((written[0] / NETWORK_FILE).read_bytes())
    card = describe_folder(tmp_path, ModelConfig(), pictures(), confidence=Confidence(reference=measured.reference))
    assert (card.calibration, card.reference) == (None, measured.reference)
