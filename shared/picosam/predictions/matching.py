"""Which object each prediction is of, and whether its mask lies in the image or in the window."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.picosam.data.manifest import Rle
from shared.picosam.data.rle import MaskProblem, Shape, from_counts
from shared.picosam.predictions.files import Annotation, Annotations, BadPredictions, Image, Prediction
from shared.picosam.prompt import INPUT_SIZE

WINDOW: Shape = (INPUT_SIZE, INPUT_SIZE)


class Frame(StrEnum):
    """What a prediction's mask is drawn on."""

    IMAGE = "image"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class Match:
    """A prediction beside its object."""

    entry: int
    """Number in the file, from 0."""
    prediction: Prediction
    annotation: Annotation
    image: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """All that can be scored, in file order, and what was left out."""

    frame: Frame
    matches: list[Match]
    skipped: int
    """Predictions of images that the annotations do not have."""
    skipped_images: int
    unanswered: int
    """Objects without a prediction, of the images that have some."""


def match(predictions: Sequence[Prediction], annotations: Annotations) -> Matches:
    """By ``annotation_id`` where it is given, else in file order to each image's non-crowd annotations.

    BadPredictions for ids that do not fit together, and for more predictions than an image has objects.
    """
    images = {image.id: image for image in annotations.images}
    prompts: dict[int, list[Annotation]] = {}
    for annotation in annotations.annotations:
        if annotation.is_prompt:
            prompts.setdefault(annotation.image_id, []).append(annotation)
    known = [(number, entry) for number, entry in enumerate(predictions) if entry.image_id in images]
    absent = {entry.image_id for entry in predictions if entry.image_id not in images}
    if not known:
        hint = "Give the annotation file of the images that the predictions were made for."
        raise BadPredictions("none of the predictions' images is in the annotation file", hint=hint)
    chosen = list(_objects(known, prompts, annotations))
    matches = [
        Match(number, entry, found, images[entry.image_id]) for (number, entry), found in zip(known, chosen, strict=True)
    ]
    asked = sum(len(prompts.get(image_id, ())) for image_id in {entry.image_id for _, entry in known})
    return Matches(
        frame=_frame(matches),
        matches=matches,
        skipped=len(predictions) - len(known),
        skipped_images=len(absent),
        unanswered=asked - len(matches),
    )


def predicted_mask(found: Match, frame: Frame) -> Rle:
    """The checked mask of a prediction: on its image, or on the window."""
    raw = found.prediction.segmentation
    try:
        return from_counts(raw.counts, raw.size, WINDOW if frame is Frame.WINDOW else found.image.shape)
    except MaskProblem as exc:
        raise BadPredictions(
            f"{_place(found.entry, found.prediction)}, field segmentation.counts: {exc}", hint="Write the mask anew."
        ) from exc


def _objects(
    known: Sequence[tuple[int, Prediction]], prompts: dict[int, list[Annotation]], annotations: Annotations
) -> Iterator[Annotation]:
    """The object of each prediction."""
    by_id = {annotation.id: annotation for annotation in annotations.annotations}
    taken: dict[int, int] = {}
    named: dict[int, bool] = {}
    answered: Counter[int] = Counter()
    for number, entry in known:
        if named.setdefault(entry.image_id, entry.annotation_id is not None) != (entry.annotation_id is not None):
            hint = "Give annotation_id in all entries of an image, or in none."
            raise BadPredictions(
                f"{_place(number, entry)}, field annotation_id: only some entries of this image have it", hint=hint
            )
        of_image = prompts.get(entry.image_id, [])
        if entry.annotation_id is not None:
            found = _named(number, entry, by_id)
        else:
            found = _next(number, entry, of_image, answered[entry.image_id])
        answered[entry.image_id] += 1
        if found.id in taken:
            message = f"{_place(number, entry)}, field annotation_id: {found.id} is already that of entry {taken[found.id]}"
            raise BadPredictions(message, hint="One prediction per object is scored; leave the others out.")
        taken[found.id] = number
        yield found


def _named(number: int, entry: Prediction, by_id: dict[int, Annotation]) -> Annotation:
    place, hint = f"{_place(number, entry)}, field annotation_id", "Take the ids from the annotation file given."
    found = by_id.get(entry.annotation_id or 0)
    if found is None or found.id != entry.annotation_id:
        raise BadPredictions(f"{place}: {entry.annotation_id} is not in the annotation file", hint=hint)
    if found.image_id != entry.image_id:
        raise BadPredictions(f"{place}: {found.id} belongs to image {found.image_id}", hint=hint)
    if not found.is_prompt:
        raise BadPredictions(f"{place}: {found.id} is a crowd or has no mask, so it is no prompt", hint="Leave the entry out.")
    return found


def _next(number: int, entry: Prediction, of_image: Sequence[Annotation], done: int) -> Annotation:
    if done >= len(of_image):
        message = f"{_place(number, entry)}: the image has {len(of_image)} objects and more predictions than that"
        hint = (
            "One prediction per non-crowd object is scored, in the annotation file's order; or name objects by annotation_id."
        )
        raise BadPredictions(message, hint=hint)
    return of_image[done]


def _frame(matches: Sequence[Match]) -> Frame:
    """Whether the file's masks lie in images or in windows. An image that is as large as a window tells nothing."""
    chosen: Frame | None = None
    for found in matches:
        size, shape = found.prediction.segmentation.size, found.image.shape
        if size not in (WINDOW, shape):
            message = f"{_place(found.entry, found.prediction)}, field segmentation.size: {list(size)} is neither"
            whole = f"{message} the image's {list(shape)} (height, width) nor a window's {list(WINDOW)}"
            raise BadPredictions(whole, hint="Write the mask in image pixels, or in the 96 x 96 window.")
        if shape == WINDOW:
            continue
        frame = Frame.IMAGE if size == shape else Frame.WINDOW
        if chosen not in (None, frame):
            message = f"{_place(found.entry, found.prediction)}, field segmentation.size: a mask on the {frame}"
            hint = "Keep masks on images and masks on windows in separate files."
            raise BadPredictions(f"{message}, while earlier ones are on the {chosen}", hint=hint)
        chosen = frame
    return chosen or Frame.IMAGE


def _place(number: int, entry: Prediction) -> str:
    return f"entry {number} (image {entry.image_id})"
