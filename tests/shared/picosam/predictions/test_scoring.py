"""Hand-computed figures, and agreement with pycocotools and with the platform's own evaluation."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import import_dataset
from shared.picosam.data.shards import ShardPolicy, prepare
from shared.picosam.mask_ap import COCO_STATISTICS
from shared.picosam.metrics import scores
from shared.picosam.predictions import score_predictions

GOLDEN = Path(__file__).parent / "golden"

# The objects of golden/instances.json, columns x rows, in an image of 300 x 200 (the last: of 120 x 120); prompt = the middle:
#   11  x 100..139, y 60..99     prompt (119, 79), window 71..166 x 31..126: touches no border
#   12  x 0..19, y 0..19         prompt (9, 9)
#   13  x 276..299, y 100..147   prompt (287, 123)
#   21  x 30..89, y 30..89       prompt (59, 59)
# What golden/windows.json says of them, in cells: 29..68 x 29..48; 10..29 x 0..19; 48..95 x 25..72; nothing.
HALF = 800 / 1600  # of 11 under every rule: in its window the object takes 29..68 x 29..68
WINDOWS = {
    # 12: window 0..95, object 0..19: 10 x 20 shared, 20 x 20 + 20 x 20 - 200 in all.
    # 13: columns 239..299 stretched to 96: cell j shows column floor((j + 1/2) 61 / 96), so 37 and more from cell 58 on.
    Border.AUTHORS: [HALF, 200 / 600, 38 / 48, 0],
    # 12: window -39..56, object 39..58: nothing shared. 13: window 239..334, object 37..60: 13 of 59 columns.
    Border.PAD: [HALF, 0, 13 / 59, 0],
    # 12: as authors. 13: window 204..299, object 72..95.
    Border.CLAMP: [HALF, 200 / 600, 24 / 48, 0],
    # 12: the largest side round (9, 9) is 19, the floor 24: window 0..23, object 80 x 80 cells.
    # 13: side 26, window 274..299 x 110..135: object from cell 7 on over all rows, 89 x 96 cells.
    Border.SHRINK: [HALF, 400 / 6400, 2304 / (89 * 96), 0],
}


@pytest.mark.parametrize("border", Border)
def test_masks_on_windows_score_what_was_computed_by_hand(border):
    scored = score_predictions(GOLDEN / "windows.json", GOLDEN / "instances.json", border)
    assert [row.iou for row in scored.samples] == pytest.approx(WINDOWS[border], abs=1e-12)
    name = "miou_96" if border is Border.AUTHORS else f"miou_96_{border}"
    assert scored.figures[name] == pytest.approx(np.mean(WINDOWS[border]), abs=1e-12)


def test_entries_are_matched_in_file_order_past_crowds_and_absent_images():
    scored = score_predictions(GOLDEN / "windows.json", GOLDEN / "instances.json")
    assert [(row.entry, row.annotation_id) for row in scored.samples] == [(0, 11), (1, 12), (3, 13), (4, 21)]
    assert (scored.predictions, scored.skipped, scored.skipped_images, scored.unanswered) == (4, 1, 1, 0)


def test_the_published_figures_by_hand():
    scored = score_predictions(GOLDEN / "windows.json", GOLDEN / "instances.json")
    # 0.79 passes 0.50 .. 0.75, 0.50 passes 0.50, the others none.
    assert scored.figures["hit_rate_50_95"] == pytest.approx((2 / 4 + 5 * 1 / 4) / 10)
    assert scored.figures["miou_96_unclipped"] == pytest.approx((HALF + 0) / 2)  # 11 and 21
    assert scored.by_area["small"] == {"miou": pytest.approx(200 / 600), "samples": 1}
    assert scored.by_category["lid"] == {"miou": pytest.approx((200 / 600 + 0) / 2), "samples": 2}


def test_masks_on_images_are_cut_like_their_windows_and_scored_whole_too():
    scored = score_predictions(GOLDEN / "image.json", GOLDEN / "instances.json")
    assert [row.annotation_id for row in scored.samples] == [12, 11, 13, 21]
    assert [row.iou for row in scored.samples] == pytest.approx([1 / 2, 1 / 2, 1, 3 / 4], abs=1e-12)
    assert [row.iou_image for row in scored.samples] == pytest.approx([1 / 2, 1 / 2, 1, 45 / 60], abs=1e-12)
    assert scored.figures["miou_image"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 3 / 4) / 4)


def by_pycocotools(annotations, predictions):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(predictions)), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_STATISTICS, evaluation.stats, strict=True))


def assert_equal_to_pycocotools(annotations, predictions):
    found = score_predictions(predictions, annotations).figures
    for name, wanted in by_pycocotools(annotations, predictions).items():
        assert found.get(name, -1.0) == pytest.approx(wanted, abs=1e-6), name


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Generated images with their annotation file."""
    folder = tmp_path_factory.mktemp("shapes")
    generate(GeneratorSource(images=16, width=200, height=160, max_objects=6, seed=3), folder)
    return folder


SLAB = np.pad(np.ones((50, 60), np.uint8), ((23, 23), (18, 18)))


def guesses(annotations, path, *, frame="image"):
    """Half-right masks: each object's own, moved by a few pixels, with a random score; every fifth of a wrong category."""
    content, random = json.loads(annotations.read_text()), np.random.default_rng(0)
    index = COCO()
    index.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        index.createIndex()
    categories, rows = [each["id"] for each in content["categories"]], []
    for number, row in enumerate(content["annotations"]):
        if row["iscrowd"]:
            continue
        mask = index.annToMask(row) if frame == "image" else SLAB
        mask = np.roll(mask, random.integers(-6, 7, 2), axis=(0, 1))
        code = coco_mask.encode(np.asfortranarray(mask))
        category = categories[number % len(categories)] if number % 5 == 0 else row["category_id"]
        segmentation = {"size": list(code["size"]), "counts": code["counts"].decode()}
        rows.append({"image_id": row["image_id"], "category_id": category, "segmentation": segmentation})
        rows[-1] |= {"score": float(random.random()), "annotation_id": row["id"]}
    path.write_text(json.dumps(rows))
    return path


def test_coco_ap_equals_pycocotools(shapes, tmp_path):
    assert_equal_to_pycocotools(shapes / "instances.json", guesses(shapes / "instances.json", tmp_path / "guesses.json"))


def test_coco_ap_equals_pycocotools_on_real_annotations(real_annotations, tmp_path):
    assert_equal_to_pycocotools(real_annotations, guesses(real_annotations, tmp_path / "guesses.json"))


@pytest.mark.parametrize("border", Border)
def test_figures_equal_those_of_the_platforms_windows(shapes, tmp_path, border):
    predictions = guesses(shapes / "instances.json", tmp_path / "guesses.json", frame="window")
    split = SplitSource(split="val", images="images", annotations="instances.json")
    imported = import_dataset(shapes, FolderSource(root=str(shapes), splits=[split]), None, "shapes", tmp_path)
    policy = ShardPolicy(window=WindowPolicy(border=border))
    windows = prepare(imported.manifest_path, shapes, "val", policy, tmp_path / "windows", digest=imported.digest)
    _, truth = windows.windows(np.arange(len(windows)))
    answered = {row["annotation_id"]: coco_mask.decode(row["segmentation"]) > 0 for row in json.loads(predictions.read_text())}
    masks = np.stack([answered[annotation] for annotation in windows.instance_id.tolist()])
    ious = (masks & truth).sum(axis=(1, 2)) / (masks | truth).sum(axis=(1, 2))
    wanted = scores(ious, border=border, clipped=windows.clipped, has_object=truth.any(axis=(1, 2)))
    found = score_predictions(predictions, shapes / "instances.json", border).figures
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
