"""The published protocol on real images: windows and metrics together. Runs where PICOFLEET_DATA names a folder of them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from shared.contracts.windows import Border
from shared.picosam.metrics import iou, scores
from shared.picosam.prompt import extract, extract_mask, point_window, prompt_point

FOLDER = Path(os.environ.get("PICOFLEET_DATA", "")) / "coco2017"

pytestmark = pytest.mark.skipif("PICOFLEET_DATA" not in os.environ, reason="PICOFLEET_DATA names no folder of real images")


@pytest.fixture(scope="module")
def prompts():
    """(file name, shape, mask) of every non-crowd annotation, in the file's order."""
    annotations = json.loads((FOLDER / "annotations/instances_val2017.json").read_text())
    images = {image["id"]: image for image in annotations["images"]}
    found = []
    for row in annotations["annotations"]:
        if not row.get("iscrowd"):
            image = images[row["image_id"]]
            runs = coco_mask.merge(coco_mask.frPyObjects(row["segmentation"], image["height"], image["width"]))
            found.append((image["file_name"], (image["height"], image["width"]), coco_mask.decode(runs).astype(bool)))
    return found


def a_disc(radius=30):
    y, x = np.mgrid[:96, :96] - 47.5
    return torch.from_numpy(x**2 + y**2 <= radius**2)


@pytest.mark.parametrize(
    ("border", "name", "wanted"), [(Border.AUTHORS, "miou_96", 0.2723), (Border.PAD, "miou_96_pad", 0.2835)]
)
def test_a_constant_disc_scores_what_was_measured_by_hand(prompts, border, name, wanted):
    windows = [point_window(prompt_point(mask), shape, border=border) for _, shape, mask in prompts]
    truth = torch.from_numpy(np.stack([extract_mask(row[2], window) for row, window in zip(prompts, windows, strict=True)]))
    ious = iou(a_disc().expand_as(truth), truth).numpy()
    found = scores(ious, border=border, clipped=np.array([window.clipped for window in windows]))
    assert len(ious) == 1062
    assert found[name] == pytest.approx(wanted, abs=5e-5)
    assert found["miou_96_unclipped"] == pytest.approx(0.2845, abs=5e-5)


def test_windows_cut_at_the_border_are_stretched_as_pillow_does(prompts):
    cut = 0
    for file_name, shape, mask in prompts[:400]:
        window = point_window(prompt_point(mask), shape, border=Border.AUTHORS)
        if (window.width, window.height) != (96, 96):
            with Image.open(FOLDER / "val2017" / file_name) as opened:
                image = opened.convert("RGB")
            crop = image.crop((window.x0, window.y0, window.x1, window.y1))
            wanted = np.asarray(crop.resize((96, 96), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(extract(np.asarray(image), window) - wanted).max() <= 1
            cut += 1
    assert cut >= 10
