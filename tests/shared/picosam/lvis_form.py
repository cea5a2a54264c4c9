"""Annotation files in LVIS layout, and what LVIS's own library makes of them where it can be imported."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

Content = dict[str, Any]

NAMES = {
    "AP": "ap",
    "AP50": "ap_50",
    "AP75": "ap_75",
    "APs": "ap_small",
    "APm": "ap_medium",
    "APl": "ap_large",
    "APr": "ap_rare",
    "APc": "ap_common",
    "APf": "ap_frequent",
    "AR@300": "ar_300",
    "ARs@300": "ar_small",
    "ARm@300": "ar_medium",
    "ARl@300": "ar_large",
}
HEIGHT, WIDTH = 120, 150


def by_the_library(annotations: Path, detections: list[Content], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The figures of LVIS's library by our names; -1 where there is no object. Skips where the library is not installed."""
    lvis = pytest.importorskip("lvis", reason="the lvis package requires opencv-python, which is not opencv-python-headless")
    monkeypatch.setattr(np, "float", float, raising=False)  # the library is older than numpy 1.24
    results = annotations.with_name("detections.json")  # a list would be changed, and warned about
    results.write_text(json.dumps(detections))
    evaluation = lvis.LVISEval(str(annotations), str(results), "segm")
    evaluation.run()
    return {NAMES[name]: float(value) for name, value in evaluation.get_results().items()}


def as_lvis(content: Content, seed: int) -> Content:
    """COCO annotations in LVIS layout: frequencies go round, and what was not looked for is made up."""
    random = np.random.default_rng(seed)
    categories = [each["id"] for each in content["categories"]]
    rows = [
        {key: value for key, value in row.items() if key != "iscrowd"} for row in content["annotations"] if not row["iscrowd"]
    ]
    images = []
    for image in content["images"]:
        shown = {row["category_id"] for row in rows if row["image_id"] == image["id"]}
        absent = [category for category in categories if category not in shown and random.random() < 0.3]
        unfinished = [category for category in (*sorted(shown), *absent) if random.random() < 0.3]
        url = f"http://images.cocodataset.org/val2017/{image['file_name'].split('/')[-1]}"
        said = {"coco_url": url, "neg_category_ids": absent, "not_exhaustive_category_ids": unfinished}
        images.append({key: image[key] for key in ("id", "width", "height")} | said)
    kinds = [
        {"id": each["id"], "name": each["name"], "frequency": "rcf"[number % 3]}
        for number, each in enumerate(content["categories"])
    ]
    return {"images": images, "annotations": rows, "categories": kinds}


def a_random_file(seed: int, images: int = 25, categories: int = 12) -> Content:
    """Rectangles in LVIS layout."""
    random = np.random.default_rng(seed)
    rows: list[Content] = []
    for image in range(1, images + 1):
        for category in random.integers(1, categories + 1, random.integers(0, 7)).tolist():
            x, y, width, height = _box(random)
            ring = [x, y, x + width, y, x + width, y + height, x, y + height]
            row = {"id": len(rows) + 1, "image_id": image, "category_id": category, "segmentation": [ring], "iscrowd": 0}
            rows.append(row | {"bbox": [x, y, width, height], "area": width * height})
    pictures = [
        {"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT} for number in range(1, images + 1)
    ]
    kinds = [{"id": number, "name": f"kind {number}"} for number in range(1, categories + 1)]
    return as_lvis({"images": pictures, "annotations": rows, "categories": kinds}, seed)


def random_detections(content: Content, seed: int, crowded: int = 0) -> list[Content]:
    """Half-right masks, some twice, many nowhere or of a wrong category; ``crowded`` more in the first image. Scores repeat."""
    random = np.random.default_rng(seed)
    categories = [each["id"] for each in content["categories"]]
    wanted = [
        (row["image_id"], row["category_id"], row["bbox"]) for row in content["annotations"] for _ in range(random.integers(3))
    ]
    wanted += [(image["id"], random.choice(categories), _box(random)) for image in content["images"] for _ in range(5)]
    first = content["images"][0]["id"]
    wanted += [(first, random.choice(categories), _box(random)) for _ in range(crowded)]
    found = []
    for number in random.permutation(len(wanted)).tolist():
        image, category, box = wanted[number]
        moved = [int(side) + int(by) for side, by in zip(box, random.integers(-4, 5, 4), strict=True)]
        score = round(float(random.random()), 2)
        found.append({"image_id": image, "category_id": int(category), "score": score, "segmentation": rectangle(*moved)})
    return found


def rectangle(x: int, y: int, width: int, height: int) -> Content:
    """As compressed RLE, cut at the image's border."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = 1
    code = coco_mask.encode(np.asfortranarray(mask))
    return {"size": [HEIGHT, WIDTH], "counts": code["counts"].decode()}


def _box(random: np.random.Generator) -> list[int]:
    width, height = (int(side) for side in random.choice([8, 20, 40, 70, 105, 110], 2))
    return [int(random.integers(0, WIDTH - width)), int(random.integers(0, HEIGHT - height)), width, height]
