"""The two files, read as hostile input: whatever is wrong is refused with the entry and the field named."""

import mmap
import re
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec

from shared.picosam.data.images import MAX_PIXELS
from shared.picosam.data.lvis import Federation
from shared.picosam.data.manifest import Frequency, Id, Rle
from shared.picosam.data.polygons import MAX_POINTS
from shared.picosam.data.rle import MaskProblem, Shape, from_counts, from_rings

MAX_PREDICTION_BYTES: Final = 2 * 1024**3
"""A million masks of images have about 500 MB."""

MAX_ANNOTATION_BYTES: Final = 4 * 1024**3
"""LVIS train, the largest common one, has 1.1 GB."""

_LONGEST: Final = 300
"""Characters of a message that quotes the file."""

Form = TypeVar("Form")


class BadPredictions(Exception):
    """A file cannot be scored. ``str()`` names the file, the entry and the field; ``hint`` says what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__("".join(char if char.isprintable() else "?" for char in message[:_LONGEST]))
        self.hint = hint


class RawRle(msgspec.Struct, frozen=True):
    """Run lengths as they are written, compressed text or a list of counts; nothing is checked yet."""

    size: tuple[int, int]
    counts: str | list[int]


class Prediction(msgspec.Struct, frozen=True):
    """One entry of a result file. Fields that are not named here are not looked at."""

    image_id: Id
    segmentation: RawRle
    category_id: Id | None = None
    score: float | None = None
    annotation_id: Id | None = None


class Image(msgspec.Struct, frozen=True):
    """An image of the annotation file: its size, and in LVIS layout what was not looked for in it."""

    id: Id
    height: int
    width: int
    neg_category_ids: tuple[Id, ...] = ()
    not_exhaustive_category_ids: tuple[Id, ...] = ()

    @property
    def shape(self) -> Shape:
        """(height, width)."""
        return self.height, self.width


class Annotation(msgspec.Struct, frozen=True):
    """One object. Its mask stays text until it is asked for."""

    id: Id
    image_id: Id
    category_id: Id
    segmentation: msgspec.Raw = msgspec.Raw()
    area: float | None = None
    iscrowd: int | bool = 0

    @property
    def is_prompt(self) -> bool:
        """True for what the published protocol asks for: one object, with a mask."""
        return not self.iscrowd and bool(bytes(self.segmentation))


class Category(msgspec.Struct, frozen=True):
    """A kind of object."""

    id: Id
    name: str = ""
    frequency: Any = None
    """One of LVIS's letters in an LVIS file; in others it may be anything."""


class Annotations(msgspec.Struct, frozen=True):
    """An annotation file in COCO or LVIS layout."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category] = []

    def federation(self) -> Federation | None:
        """What LVIS says beside its objects; None unless categories have LVIS's ``frequency``."""
        frequencies = {each.id: each.frequency for each in self.categories if each.frequency in get_args(Frequency)}
        if not frequencies:
            return None
        negative = {image.id: image.neg_category_ids for image in self.images if image.neg_category_ids}
        unfinished = {image.id: image.not_exhaustive_category_ids for image in self.images if image.not_exhaustive_category_ids}
        return Federation(frequencies=frequencies, negative=negative, unfinished=unfinished)


def read_predictions(path: Path) -> list[Prediction]:
    """The entries in file order."""
    hint = 'Write a COCO result file: [{"image_id": 1, "category_id": 1, "segmentation": {"size": [h, w], "counts": "..."}}].'
    found = _decoded(path, list[Prediction], MAX_PREDICTION_BYTES, hint)
    if not found:
        raise BadPredictions(f"{path.name} holds no prediction", hint=hint)
    return found


def read_annotations(path: Path) -> Annotations:
    """The annotation file, its ids checked; masks are checked when they are asked for."""
    hint = "Give the annotation file (instances JSON in COCO or LVIS layout) that the predictions were made for."
    found = _decoded(path, Annotations, MAX_ANNOTATION_BYTES, hint)
    _check_unique(path, "images", [image.id for image in found.images])
    _check_unique(path, "annotations", [annotation.id for annotation in found.annotations])
    for number, image in enumerate(found.images):
        if not 0 < image.height * image.width <= MAX_PIXELS or image.height < 0:
            size = f"{image.width} x {image.height}"
            raise BadPredictions(f"{path.name}, images[{number}] (id {image.id}): {size} is no image's size", hint=hint)
    known = {image.id for image in found.images}
    for number, row in enumerate(found.annotations):
        if row.image_id not in known:
            place = f"{path.name}, annotations[{number}] (id {row.id}), field image_id"
            raise BadPredictions(f"{place}: {row.image_id} is not among the file's images", hint=hint)
    return found


def truth_mask(annotation: Annotation, shape: Shape) -> Rle:
    """The object's mask in its image, filled as pycocotools fills it. BadPredictions names the annotation."""
    try:
        return _mask(msgspec.json.decode(annotation.segmentation, type=list[list[float]] | RawRle), shape)
    except (MaskProblem, msgspec.DecodeError) as exc:
        place = f"annotation {annotation.id} of image {annotation.image_id}, field segmentation"
        raise BadPredictions(f"{place}: {exc}", hint="Correct the annotation file, or take its original.") from exc


def _mask(segmentation: list[list[float]] | RawRle, shape: Shape) -> Rle:
    if isinstance(segmentation, RawRle):
        return from_counts(segmentation.counts, segmentation.size, shape)
    if not segmentation:
        raise MaskProblem("empty_polygon", "a list without a polygon")
    for ring in segmentation:
        _check_ring(ring, shape)
    return from_rings(segmentation, shape)


def _check_ring(ring: list[float], shape: Shape) -> None:
    """What pycocotools' C code cannot be given; a polygon that merely is odd is filled as that library fills it."""
    if len(ring) < 6 or len(ring) % 2 or len(ring) > 2 * MAX_POINTS:
        raise MaskProblem(
            "malformed_polygon", f"a polygon of {len(ring)} numbers; three points are 6, at most {2 * MAX_POINTS}"
        )
    reach = 2 * max(shape)
    if min(ring) < -reach or max(ring) > reach:
        raise MaskProblem("polygon_outside", f"a polygon far outside the {shape[1]} x {shape[0]} image")


def _decoded(path: Path, form: type[Form], most_bytes: int, hint: str) -> Form:
    size = path.stat().st_size
    if not 0 < size <= most_bytes:
        raise BadPredictions(f"{path.name} has {size:,} bytes; such a file has 1 to {most_bytes:,}", hint=hint)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # raw masks keep it alive
    try:
        return msgspec.json.decode(mapped, type=form)
    except msgspec.ValidationError as exc:
        raise BadPredictions(f"{path.name}{_placed(str(exc))}", hint=hint) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise BadPredictions(f"{path.name} is not JSON: {exc}", hint="Check that the file was written to its end.") from exc
    except RecursionError as exc:
        raise BadPredictions(f"{path.name} is nested too deeply", hint=hint) from exc


def _placed(told: str) -> str:
    """msgspec's "... - at `$[3].segmentation.size`" as ", entry 3, field segmentation.size: ..."."""
    what, _, path = told.partition(" - at `$")
    place = re.fullmatch(r"(?:\[(\d+)\])?\.?(.*)`", path)
    if place is None:
        return f": {what}"
    entry, field = place.groups()
    return (f", entry {entry}" if entry else "") + (f", field {field}" if field else "") + f": {what}"


def _check_unique(path: Path, field: str, ids: list[int]) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[int] = set()
    for number, each in enumerate(ids):
        if each in seen:
            message = f"{path.name}, {field}[{number}], field id: {each} is there more than once"
            raise BadPredictions(message, hint="Ids must be unique; take the original annotation file.")
        seen.add(each)
