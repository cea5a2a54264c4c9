"""COCO's mask AP over prompted objects, by COCO's own library; for datasets in LVIS layout LVIS's.

Each prompt gives one detection, pasted back into its image and given its object's category: what is scored is the mask and
the order of confidence, not the classification, since the prompt says which object is meant. The truth is the whole object,
so an object that reaches beyond its window cannot be matched in full.
"""

import contextlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from shared.picosam.coco_index import coco_index
from shared.picosam.data.lvis import Federation
from shared.picosam.lvis_ap import lvis_statistics
from shared.picosam.prompt import MaskArray

Rle = dict[str, Any]
"""COCO's compressed run lengths: {"size": [height, width], "counts": bytes or str}."""

STATISTICS: Final = ("mask_ap", "mask_ap_50", "mask_ap_75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
"""The first six of COCOeval's twelve."""

COCO_STATISTICS: Final = (
    *(name.replace("mask_ap", "coco_ap") for name in STATISTICS),
    "coco_ar_1",
    "coco_ar_10",
    "coco_ar_100",
    "coco_ar_small",
    "coco_ar_medium",
    "coco_ar_large",
)
"""All twelve: precision, then recall with at most so many detections per image, and by size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptedMask:
    """One prompt's detection beside its truth."""

    image_id: int
    category_id: int
    confidence: float
    predicted: Rle
    truth: Rle
    area: float  # of the annotated object, in image pixels: it decides the size band

    def __post_init__(self) -> None:
        if list(self.predicted["size"]) != list(self.truth["size"]):
            raise ValueError(f"masks differ in size: {self.predicted['size']} predicted, {self.truth['size']} true")


def encode(mask: MaskArray) -> Rle:
    """Run lengths of bool [H, W]."""
    rle: Rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return rle


def mask_ap(masks: Sequence[PromptedMask], federation: Federation | None = None) -> dict[str, float]:
    """AP at IoU 0.50:0.95, 0.50 and 0.75, and at 0.50:0.95 by object size, each in 0..1.

    At most 100 detections per image and category count, as in COCO. With ``federation`` LVIS's figures under the same names,
    and ``mask_ap_rare``, ``_common``, ``_frequent``. Figures without an object are left out.
    """
    if not masks:
        return {}
    images = {mask.image_id: mask.truth["size"] for mask in masks}
    categories = {mask.category_id for mask in masks}
    # From 1: COCOeval takes a match with annotation 0 for no match.
    truths, detections = ([row(number, mask) for number, mask in enumerate(masks, start=1)] for row in (_truth, _detection))
    if federation is not None:
        found = lvis_statistics(images, truths, detections, federation)
        return {f"mask_{name}": value for name, value in found.items() if name.startswith("ap")}
    return _named(STATISTICS, evaluated(images, categories, truths, detections).stats)


def coco_ap(
    images: Mapping[int, Sequence[int]],
    categories: Collection[int],
    truths: Sequence[dict[str, Any]],
    detections: Sequence[dict[str, Any]],
) -> dict[str, float]:
    """COCO's own twelve figures over whole annotation and result files, as ``COCO.loadRes`` and ``COCOeval`` give them.

    images: (height, width) by id. truths: rows with id, image_id, category_id, iscrowd, area, segmentation (compressed);
    detections: the same without iscrowd, with score. A detection's size band is that of its mask.
    """
    return _named(COCO_STATISTICS, evaluated(images, categories, truths, _with_area(detections)).stats)


def lvis_ap(
    images: Mapping[int, Sequence[int]],
    truths: Sequence[dict[str, Any]],
    detections: Sequence[dict[str, Any]],
    federation: Federation,
) -> dict[str, float]:
    """LVIS's own thirteen figures over whole files: lvis_ap, ... lvis_ap_rare, ... lvis_ar_300, ... Rows as ``coco_ap`` says.

    As ``LVISEval`` gives them for detections without boxes; of those with boxes it takes the box's area for the mask's.
    """
    found = lvis_statistics(images, truths, _with_area(detections), federation)
    return {f"lvis_{name}": value for name, value in found.items()}


def evaluated(
    images: Mapping[int, Sequence[int]],
    categories: Collection[int],
    truths: Sequence[dict[str, Any]],
    detections: Sequence[dict[str, Any]],
) -> Any:
    """A COCOeval that has been run to its end. Rows as ``coco_ap`` says."""
    # The library prints its progress; neither a worker's output nor a command's JSON is the place for it.
    with contextlib.redirect_stdout(io.StringIO()):
        truth, answers = (coco_index(images, categories, rows) for rows in (truths, detections))
        evaluation = COCOeval(truth, answers, iouType="segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _with_area(detections: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"iscrowd": 0, "area": float(coco_mask.area(row["segmentation"]))} for row in detections]


def _named(names: Sequence[str], values: Iterable[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=False) if value >= 0}  # -1: no such object


def _truth(number: int, mask: PromptedMask) -> dict[str, Any]:
    row = {"id": number, "image_id": mask.image_id, "category_id": mask.category_id, "iscrowd": 0}
    return row | {"segmentation": mask.truth, "area": mask.area}


def _detection(number: int, mask: PromptedMask) -> dict[str, Any]:
    row = {"id": number, "image_id": mask.image_id, "category_id": mask.category_id, "iscrowd": 0, "score": mask.confidence}
    return row | {"segmentation": mask.predicted, "area": float(coco_mask.area(mask.predicted))}
