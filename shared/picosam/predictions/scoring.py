"""Figures of a prediction file, under the names and by the code that the platform's own evaluations use."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from shared.contracts.windows import Border
from shared.picosam import figures
from shared.picosam.data.lvis import Federation
from shared.picosam.data.manifest import Rle
from shared.picosam.data.rle import to_mask
from shared.picosam.data.shards import resampled_mask
from shared.picosam.figures import Values
from shared.picosam.mask_ap import PromptedMask, coco_ap, encode, lvis_ap, mask_ap
from shared.picosam.predictions.files import Annotations, BadPredictions, read_annotations, read_predictions, truth_mask
from shared.picosam.predictions.matching import Frame, Match, match, predicted_mask
from shared.picosam.prompt import INPUT_SIZE, paste, point_window, prompt_point

_NO_SCORE: Final = "not every entry has a score, so there is no mask AP"
_NO_CATEGORY: Final = "not every entry has a category_id, so there is no COCO or LVIS AP"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredMask:
    """One prediction's row of the result."""

    entry: int
    annotation_id: int
    image_id: int
    category_id: int
    area: float
    clipped: bool
    iou: float
    """In the window."""
    iou_image: float | None
    """Over the whole image; None for masks on windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a prediction file is worth."""

    frame: Frame
    border: Border
    predictions: int
    skipped: int
    skipped_images: int
    unanswered: int
    figures: dict[str, float]
    """miou_96, hit_rate_50_95, mask_ap, ...: names as in docs/evaluation.md; coco_ap, or lvis_ap, of masks on images."""
    by_area: dict[str, dict[str, float | None]]
    by_category: dict[str, dict[str, float | None]]
    notes: tuple[str, ...]
    samples: tuple[ScoredMask, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"frame": self.frame.value, "border": self.border.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One prediction, scored; its masks in the image as run lengths."""

    row: ScoredMask
    has_object: bool
    truth: Rle
    predicted: dict[str, Any]


def score_predictions(predictions: Path, annotations: Path, border: Border = Border.AUTHORS) -> Scored:
    """Scores ``predictions`` (COCO result JSON) against ``annotations`` in 96-pixel windows cut by the rule ``border``.

    BadPredictions names what is wrong with either file.
    """
    known = read_annotations(annotations)
    matched = match(read_predictions(predictions), known)
    judged, federation = [_judged(each, matched.frame, border) for each in matched.matches], known.federation()
    found = _window_figures(judged, border)
    notes = []
    if any(each.prediction.score is None for each in matched.matches):
        notes.append(_NO_SCORE)
    else:
        prompted = [_prompted(each, one) for each, one in zip(matched.matches, judged, strict=True)]
        ap = mask_ap(prompted, federation)
        found |= {figures.metric_name(name, border): value for name, value in ap.items()}
    if matched.frame is Frame.IMAGE:
        found["miou_image"] = figures.miou(np.array([each.row.iou_image for each in judged]))
        if any(each.prediction.category_id is None for each in matched.matches):
            notes.append(_NO_CATEGORY)
        elif _NO_SCORE not in notes:
            found |= _detection_ap(known, matched.matches, judged, federation)
    rows = [each.row for each in judged]
    return Scored(
        frame=matched.frame,
        border=border,
        predictions=len(judged),
        skipped=matched.skipped,
        skipped_images=matched.skipped_images,
        unanswered=matched.unanswered,
        figures=found,
        by_area=_by_area(rows),
        by_category=_by_category(rows, {category.id: category.name for category in known.categories}),
        notes=tuple(notes),
        samples=tuple(rows),
    )


def _judged(found: Match, frame: Frame, border: Border) -> _Judged:
    truth, predicted = truth_mask(found.annotation, found.image.shape), predicted_mask(found, frame)
    whole = to_mask(truth)
    window = point_window(prompt_point(whole), found.image.shape, border=border)
    wanted, answered = resampled_mask(whole, window, INPUT_SIZE), to_mask(predicted)
    if frame is Frame.IMAGE:
        in_image, answered = _compressed(predicted), resampled_mask(answered, window, INPUT_SIZE)
        iou_image = _iou_in_image(in_image, _compressed(truth))
    else:
        in_image, iou_image = encode(paste(answered, window, found.image.shape)), None
    row = ScoredMask(
        entry=found.entry,
        annotation_id=found.annotation.id,
        image_id=found.image.id,
        category_id=found.annotation.category_id,
        area=float(whole.sum()) if found.annotation.area is None else found.annotation.area,
        clipped=window.clipped,
        iou=_iou(answered, wanted),
        iou_image=iou_image,
    )
    return _Judged(row=row, has_object=bool(wanted.any()), truth=truth, predicted=in_image)


def _iou(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


def _iou_in_image(predicted: Mapping[str, Any], truth: Mapping[str, Any]) -> float:
    either = coco_mask.area(coco_mask.merge([predicted, truth]))
    return float(coco_mask.area(coco_mask.merge([predicted, truth], intersect=True)) / either) if either else 1.0


def _window_figures(judged: Sequence[_Judged], border: Border) -> dict[str, float]:
    ious = np.array([each.row.iou for each in judged])
    clipped, has_object = (
        np.array(flags, dtype=np.bool_)
        for flags in ([each.row.clipped for each in judged], [each.has_object for each in judged])
    )
    return figures.scores(ious, border=border, clipped=clipped, has_object=has_object)


def _prompted(found: Match, judged: _Judged) -> PromptedMask:
    return PromptedMask(
        image_id=found.image.id,
        category_id=found.annotation.category_id,
        confidence=found.prediction.score or 0.0,
        predicted=judged.predicted,
        truth=_compressed(judged.truth),
        area=judged.row.area,
    )


def _detection_ap(
    known: Annotations, matches: Sequence[Match], judged: Sequence[_Judged], federation: Federation | None
) -> dict[str, float]:
    """As pycocotools, or LVIS's library, scores the two files: all objects of all images, and the categories claimed."""
    categories = {category.id for category in known.categories} or {row.category_id for row in known.annotations}
    for each in matches:
        if each.prediction.category_id not in categories:
            message = f"entry {each.entry} (image {each.image.id}), field category_id: {each.prediction.category_id}"
            hint = "Use the annotation file's categories; leave category_id out of masks that have none."
            raise BadPredictions(f"{message} is not in the annotation file", hint=hint)
    shapes = {image.id: image.shape for image in known.images}
    masks = {each.row.annotation_id: each.truth for each in judged}
    truths = []
    for row in known.annotations:
        if bytes(row.segmentation):
            mask = masks.get(row.id) or truth_mask(row, shapes[row.image_id])
            area = float(coco_mask.area(_compressed(mask))) if row.area is None else row.area
            truths.append(
                {
                    "id": row.id,
                    "image_id": row.image_id,
                    "category_id": row.category_id,
                    "iscrowd": int(row.iscrowd),
                    "area": area,
                    "segmentation": _compressed(mask),
                }
            )
    detections = [
        {
            "id": number,
            "image_id": each.image.id,
            "category_id": each.prediction.category_id,
            "score": each.prediction.score,
            "segmentation": one.predicted,
        }
        for number, (each, one) in enumerate(zip(matches, judged, strict=True), start=1)
    ]
    if federation is not None:
        return lvis_ap(shapes, truths, detections, federation)
    return coco_ap(shapes, categories, truths, detections)


def _by_area(rows: Sequence[ScoredMask]) -> dict[str, dict[str, float | None]]:
    bands = figures.iou_by_area(np.array([row.iou for row in rows]), np.array([row.area for row in rows]))
    return {name: {"miou": band.miou if band.samples else None, "samples": band.samples} for name, band in bands.items()}


def _by_category(rows: Sequence[ScoredMask], names: Mapping[int, str]) -> dict[str, dict[str, float | None]]:
    ious: Values = np.array([row.iou for row in rows])
    categories = np.array([row.category_id for row in rows])
    found: dict[str, dict[str, float | None]] = {}
    for category in np.unique(categories).tolist():
        chosen = ious[categories == category]
        found[names.get(category) or str(category)] = {"miou": figures.miou(chosen), "samples": int(chosen.size)}
    return found


def _compressed(mask: Rle) -> dict[str, Any]:
    """As pycocotools wants it."""
    return {"size": list(mask.size), "counts": mask.counts.encode()}
