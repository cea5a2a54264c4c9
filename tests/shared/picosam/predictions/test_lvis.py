"""Predictions for annotations in LVIS layout: LVIS's figures in place of COCO's."""

import json

import pytest

from shared.contracts.datasets import GeneratorSource
from shared.picosam.data.generator import generate
from shared.picosam.predictions import BadPredictions, score_predictions
from tests.shared.picosam.lvis_form import as_lvis, by_the_library
from tests.shared.picosam.predictions.test_scoring import guesses


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    generate(GeneratorSource(images=16, width=200, height=160, max_objects=6, seed=3), folder)
    return folder / "instances.json"


@pytest.fixture
def in_lvis_layout(tmp_path):
    """Makes the same annotations in LVIS layout, and half-right predictions for them."""

    def make(annotations):
        content = json.loads(annotations.read_text())
        (tmp_path / "lvis.json").write_text(json.dumps(as_lvis(content, seed=0)))
        return tmp_path / "lvis.json", guesses(annotations, tmp_path / "guesses.json")

    return make


def assert_equal_to_the_library(annotations, predictions, monkeypatch):
    wanted = by_the_library(annotations, json.loads(predictions.read_text()), monkeypatch)
    found = score_predictions(predictions, annotations).figures
    assert {name: found.get(f"lvis_{name}", -1.0) for name in wanted} == pytest.approx(wanted, abs=1e-6)
    assert max(wanted.values()) > 0.2


def test_lvis_ap_equals_lviss_library(shapes, in_lvis_layout, monkeypatch):
    assert_equal_to_the_library(*in_lvis_layout(shapes), monkeypatch)


def test_lvis_ap_equals_lviss_library_on_real_annotations(real_annotations, in_lvis_layout, monkeypatch):
    assert_equal_to_the_library(*in_lvis_layout(real_annotations), monkeypatch)


def test_lviss_figures_take_the_place_of_cocos_and_the_others_stay(shapes, in_lvis_layout):
    annotations, predictions = in_lvis_layout(shapes)
    found = score_predictions(predictions, annotations).figures
    coco = score_predictions(predictions, shapes).figures
    assert {"lvis_ap", "lvis_ap_rare", "lvis_ar_300", "mask_ap", "mask_ap_rare"} <= set(found)
    assert not [name for name in found if name.startswith("coco_")]
    assert {name: found[name] for name in ("miou_96", "hit_rate_50_95", "miou_image")} == {
        name: coco[name] for name in ("miou_96", "hit_rate_50_95", "miou_image")
    }


def test_a_coco_file_may_have_a_frequency_of_its_own(shapes, tmp_path):
    content = json.loads(shapes.read_text())
    for category in content["categories"]:
        category["frequency"] = {"seen": 12}
    (tmp_path / "own.json").write_text(json.dumps(content))
    assert "coco_ap" in score_predictions(guesses(shapes, tmp_path / "guesses.json"), tmp_path / "own.json").figures


def test_a_broken_list_of_categories_is_refused_with_its_place(shapes, in_lvis_layout):
    annotations, predictions = in_lvis_layout(shapes)
    content = json.loads(annotations.read_text())
    content["images"][2]["neg_category_ids"] = ["cat"]
    annotations.write_text(json.dumps(content))
    with pytest.raises(BadPredictions, match=r"images\[2\]\.neg_category_ids"):
        score_predictions(predictions, annotations)
