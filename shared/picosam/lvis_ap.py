"""LVIS's mask AP, by COCO's library.

LVIS's own library cannot be installed beside this platform's OpenCV, and LVIS's rules are COCO's but for these:

- A detection of a category that its image neither shows nor names as absent is left out: nobody looked for it there.
- A detection that matches nothing is ignored where not all objects of its category are annotated.
- At most 300 detections per image count, over all categories together: the surest.
- AP is also told by how frequent categories are.

Each category is evaluated over its own images alone. LVIS's library goes through all pairs of its 20,000 images and 1,203
categories, which takes many GB.
"""

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools.cocoeval import COCOeval

from shared.picosam.coco_index import coco_index
from shared.picosam.data.lvis import Federation

Row: TypeAlias = dict[str, Any]
"""An annotation or a detection, as ``mask_ap.coco_ap`` takes them."""

MAX_DETECTIONS: Final = 300

LVIS_STATISTICS: Final = (
    "ap",
    "ap_50",
    "ap_75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ap_rare",
    "ap_common",
    "ap_frequent",
    "ar_300",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""What LVIS calls AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR@300, ARs@300, ARm@300, ARl@300."""

_AREAS: Final = ("all", "small", "medium", "large")
_FREQUENCIES: Final = (("rare", "r"), ("common", "c"), ("frequent", "f"))


def lvis_statistics(
    images: Mapping[int, Sequence[int]], truths: Sequence[Row], detections: Sequence[Row], federation: Federation
) -> dict[str, float]:
    """LVIS's thirteen figures by the names of ``LVIS_STATISTICS``; those without an object are left out.

    images: (height, width) by id. truths: rows with id (not 0), image_id, category_id, iscrowd, area, segmentation
    (compressed); detections: the same with score. A detection's size band is that of its area.
    """
    counted = _by_category(_counted(detections, truths, federation))
    found = {
        category: _evaluated(category, images, rows, counted.get(category, []), federation)
        for category, rows in sorted(_by_category(truths).items())
    }
    return dict(_means(found, federation)) if found else {}


def _counted(detections: Sequence[Row], truths: Sequence[Row], federation: Federation) -> Iterator[Row]:
    """Of each image the surest detections; of these, those of categories that were looked for."""
    shown = {(row["image_id"], row["category_id"]) for row in truths}
    of_image: defaultdict[int, list[Row]] = defaultdict(list)
    for row in detections:
        of_image[row["image_id"]].append(row)
    for image_id, rows in of_image.items():
        absent = federation.negative.get(image_id, ())
        surest = rows if len(rows) <= MAX_DETECTIONS else sorted(rows, key=_unsureness)[:MAX_DETECTIONS]
        yield from (row for row in surest if row["category_id"] in absent or (image_id, row["category_id"]) in shown)


def _unsureness(row: Row) -> float:
    return -float(row["score"])


def _by_category(rows: Iterable[Row]) -> dict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["category_id"]].append(row)
    return found


def _evaluated(
    category: int, images: Mapping[int, Sequence[int]], truths: list[Row], detections: list[Row], federation: Federation
) -> dict[str, NDArray[np.float64]]:
    """One category's precision [thresholds, recalls, areas] and recall [thresholds, areas]; -1 where there is no object."""
    sizes = {row["image_id"]: images[row["image_id"]] for row in (*truths, *detections)}
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints its progress
        truth, answers = (coco_index(sizes, [category], rows) for rows in (truths, detections))
        evaluation = COCOeval(truth, answers, iouType="segm")
        evaluation.params.maxDets = [MAX_DETECTIONS]
        evaluation.evaluate()
        for image in evaluation.evalImgs:
            if image is not None and category in federation.unfinished.get(image["image_id"], ()):
                image["dtIgnore"] |= image["dtMatches"] == 0
        evaluation.accumulate()
    return {"ap": evaluation.eval["precision"][:, :, 0, :, 0], "ar": evaluation.eval["recall"][:, 0, :, 0]}


def _means(found: Mapping[int, Mapping[str, NDArray[np.float64]]], federation: Federation) -> Iterator[tuple[str, float]]:
    """The figures: means over thresholds, recalls and categories, each category with objects weighing the same."""
    precision, recall = (np.stack([each[name] for each in found.values()]) for name in ("ap", "ar"))
    groups = np.array([federation.frequencies.get(category) for category in found])
    parts = {"ap": precision[..., 0], "ap_50": precision[:, 0, :, 0], "ap_75": precision[:, 5, :, 0]}
    parts |= {f"ap_{name}": precision[..., number] for number, name in enumerate(_AREAS) if number}
    parts |= {f"ap_{name}": precision[groups == letter, ..., 0] for name, letter in _FREQUENCIES}
    parts |= {f"ar_{name if number else MAX_DETECTIONS}": recall[..., number] for number, name in enumerate(_AREAS)}
    for name, values in parts.items():
        if (known := values[values > -1]).size:
            yield name, float(known.mean())
