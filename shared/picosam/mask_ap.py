"""COCO's mask AP over prompted objects, by COCO's own library.

Each prompt gives one detection, pasted back into its image and given its object's category: what is scored is the mask and
the order of confidence, not the classification, since the prompt says which object is meant. The truth is the whole object,
so an object that reaches beyond its window cannot be matched in full.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from shared.picosam.prompt import MaskArray

Rle = dict[str, Any]
"""COCO's compressed run lengths: {"size": [height, width], "counts": bytes or str}."""

STATISTICS: Final = ("mask_ap", "mask_ap_50", "mask_ap_75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")
"""The first six of COCOeval's twelve."""


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


def mask_ap(masks: Sequence[PromptedMask]) -> dict[str, float]:
    """AP at IoU 0.50:0.95, 0.50 and 0.75, and at 0.50:0.95 by object size, each in 0..1.

    At most 100 detections per image and category count, as in COCO. Figures without an object are left out.
    """
    if not masks:
        return {}
    # The library prints its progress; a worker's output is not the place for it.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(masks, _truth), _index(masks, _detection), iouType="segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    found = zip(STATISTICS, evaluation.stats, strict=False)
    return {name: float(value) for name, value in found if value >= 0}  # -1 stands for "no such object"


def _index(masks: Sequence[PromptedMask], row: Callable[[int, PromptedMask], dict[str, Any]]) -> Any:
    """A COCO index of one annotation per prompt. Made by hand: COCO.loadRes would derive the size bands from the masks."""
    sizes = {mask.image_id: mask.truth["size"] for mask in masks}
    index = COCO()
    index.dataset = {
        "images": [{"id": image_id, "height": size[0], "width": size[1]} for image_id, size in sorted(sizes.items())],
        "categories": [{"id": category_id} for category_id in sorted({mask.category_id for mask in masks})],
        # From 1: COCOeval takes a match with annotation 0 for no match.
        "annotations": [row(number, mask) for number, mask in enumerate(masks, start=1)],
    }
    index.createIndex()
    return index


def _truth(number: int, mask: PromptedMask) -> dict[str, Any]:
    row = {"id": number, "image_id": mask.image_id, "category_id": mask.category_id, "iscrowd": 0}
    return row | {"segmentation": mask.truth, "area": mask.area}


def _detection(number: int, mask: PromptedMask) -> dict[str, Any]:
    row = {"id": number, "image_id": mask.image_id, "category_id": mask.category_id, "iscrowd": 0, "score": mask.confidence}
    return row | {"segmentation": mask.predicted, "area": float(coco_mask.area(mask.predicted))}
