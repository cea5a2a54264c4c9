"""LVIS's figures: as LVIS's own library gives them, and by hand."""

import json
from pathlib import Path

import pytest

from shared.picosam.data.lvis import Federation
from shared.picosam.mask_ap import lvis_ap, mask_ap
from shared.picosam.predictions.files import read_annotations, truth_mask
from tests.shared.picosam.lvis_form import NAMES, a_random_file, by_the_library, random_detections, rectangle
from tests.shared.picosam.test_mask_ap import a_mask, a_rectangle

GOLDEN = Path(__file__).parent / "golden/lvis.json"


def ours(annotations, detections):
    known = read_annotations(annotations)
    shapes = {image.id: image.shape for image in known.images}
    truths = []
    for row in known.annotations:
        mask = truth_mask(row, shapes[row.image_id])
        coded = {"segmentation": {"size": list(mask.size), "counts": mask.counts.encode()}}
        about = {"id": row.id, "image_id": row.image_id, "category_id": row.category_id, "area": row.area, "iscrowd": 0}
        truths.append(about | coded)
    numbered = [row | {"id": number} for number, row in enumerate(detections, start=1)]
    return lvis_ap(shapes, truths, numbered, known.federation())


def assert_equal(found, wanted):
    assert {name: found.get(f"lvis_{name}", -1.0) for name in NAMES.values()} == pytest.approx(wanted, abs=1e-6)


def test_figures_are_those_that_lviss_library_gave(tmp_path):
    golden = json.loads(GOLDEN.read_text())
    (tmp_path / "lvis.json").write_text(json.dumps(golden["annotations"]))
    found = ours(tmp_path / "lvis.json", golden["detections"])
    assert_equal(found, golden["figures"])
    assert len(found) == len(NAMES)


@pytest.mark.parametrize("crowded", [0, 400])
@pytest.mark.parametrize("seed", range(6))
def test_figures_are_those_of_lviss_library(tmp_path, monkeypatch, seed, crowded):
    content = a_random_file(seed)
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    detections = random_detections(content, seed, crowded)
    assert_equal(ours(tmp_path / "lvis.json", detections), by_the_library(tmp_path / "lvis.json", detections, monkeypatch))


BOX, ELSEWHERE = rectangle(10, 10, 40, 40), rectangle(80, 60, 40, 40)


def a_detection(number, image_id=1, category_id=1, score=0.5, segmentation=BOX):
    return {"id": number, "image_id": image_id, "category_id": category_id, "score": score, "segmentation": segmentation}


def figure(detections, **known):
    truths = [
        a_detection(category, category_id=category, image_id=image) | {"area": 1600.0, "iscrowd": 0}
        for image, category in ((1, 1), (2, 2))
    ]
    federation = Federation(**({"frequencies": {1: "r", 2: "f"}, "negative": {}, "unfinished": {}} | known))
    return lvis_ap({1: (120, 150), 2: (120, 150)}, truths, detections, federation)


HITS = [a_detection(1), a_detection(2, image_id=2, category_id=2)]


def test_ap_is_told_by_how_frequent_categories_are():
    found = figure(HITS[:1])
    assert (found["lvis_ap_rare"], found["lvis_ap_frequent"], found["lvis_ap"]) == pytest.approx((1, 0, 0.5))
    assert "lvis_ap_common" not in found


def test_a_sure_miss_costs_nothing_unless_its_category_was_looked_for():
    wrong = a_detection(3, image_id=1, category_id=2, score=0.9)
    assert figure([*HITS, wrong])["lvis_ap"] == pytest.approx(1)
    assert figure([*HITS, wrong], negative={1: (2,)})["lvis_ap_frequent"] == pytest.approx(0.5)


def test_a_sure_miss_costs_nothing_where_not_all_objects_are_annotated():
    miss = a_detection(3, score=0.9, segmentation=ELSEWHERE)
    assert figure([*HITS, miss])["lvis_ap_rare"] == pytest.approx(0.5)
    assert figure([*HITS, miss], unfinished={1: (1,)})["lvis_ap_rare"] == pytest.approx(1)
    assert figure([*HITS, miss], unfinished={1: (2,), 2: (1,)})["lvis_ap_rare"] == pytest.approx(0.5)


@pytest.mark.parametrize(("others", "counts"), [(299, True), (300, False)])
def test_300_detections_of_an_image_count_over_all_categories(others, counts):
    # Of a category that nobody looked for there: they are left out, but not before they have taken the places.
    crowd = [a_detection(number + 10, category_id=2, score=0.9, segmentation=ELSEWHERE) for number in range(others)]
    assert figure([*HITS, *crowd])["lvis_ap_rare"] == pytest.approx(1 if counts else 0)


def test_prompted_masks_have_lviss_figures_under_the_names_of_cocos():
    masks = [a_mask(), a_mask(a_rectangle(x=100), category_id=2)]
    federation = Federation(frequencies={1: "c", 2: "c"}, negative={}, unfinished={})
    found = mask_ap(masks, federation)
    assert found == pytest.approx(mask_ap(masks) | {"mask_ap_common": 0.5})


def test_nothing_scored_is_nothing_found():
    federation = Federation(frequencies={1: "c"}, negative={}, unfinished={})
    assert mask_ap([], federation) == {}
    assert lvis_ap({1: (9, 9)}, [], [], federation) == {}
