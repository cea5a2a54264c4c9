"""COCO and LVIS annotation files, row by row.

The file is mapped, not loaded: a first pass cuts the lists into raw rows and groups annotations by image; a row is decoded when
its image is checked. COCO's 450 MB train file costs some 200 MB that way, where parsing it whole takes several GB.
"""

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import msgspec

from shared.contracts.datasets import BadRow, DatasetFormat, SplitSource
from shared.picosam.data import rle
from shared.picosam.data.errors import ImportRefused
from shared.picosam.data.findings import Checked, bad_row
from shared.picosam.data.images import ImageProblem, resolve_inside
from shared.picosam.data.manifest import Category, Frequency, Id, ImageRow, Instance, Rle
from shared.picosam.data.picture import read_picture
from shared.picosam.data.polygons import checked_rings
from shared.picosam.data.rle import MaskProblem, Shape

MAX_FILE_BYTES: Final = 4 * 1024**3
"""Of an annotation file; LVIS train, the largest common one, has 1.1 GB."""

MAX_REPAIR_BYTES: Final = 256 * 1024**2
"""Up to this size a file with NaN in it is parsed whole to find the rows at fault; Python objects take ten times the text."""


Form = TypeVar("Form")


class _File(msgspec.Struct):
    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] = []


class _Category(msgspec.Struct):
    id: Id
    name: str
    frequency: Any = None

    def kept(self, form: DatasetFormat) -> Category:
        """As the manifest has it. In COCO layout a field of this name is someone's own and means nothing here."""
        frequency = next((each for each in get_args(Frequency) if each == self.frequency), None)
        return Category(id=self.id, name=self.name[:256], frequency=frequency if form is DatasetFormat.LVIS else None)


class _Key(msgspec.Struct):
    id: Id


class _AnnotationKey(msgspec.Struct):
    id: Id
    image_id: Id


class _Image(msgspec.Struct):
    id: Id
    file_name: str | None = None
    coco_url: str | None = None
    width: int | None = None
    height: int | None = None
    neg_category_ids: tuple[int, ...] = ()
    not_exhaustive_category_ids: tuple[int, ...] = ()


class _Rle(msgspec.Struct):
    size: list[int]
    counts: str | list[int]


class _Annotation(msgspec.Struct):
    id: Id
    image_id: Id
    category_id: Id
    segmentation: list[list[float]] | _Rle
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """One split's annotation file, indexed."""

    source: SplitSource
    format: DatasetFormat
    categories: dict[int, Category]
    images: list[tuple[int, msgspec.Raw]]
    by_image: dict[int, list[msgspec.Raw]]
    bad: list[BadRow]

    def tasks(self) -> "Iterator[ImageTask]":
        """The images in file order, each with its annotations in file order."""
        return (ImageTask(self, image_id, raw) for image_id, raw in self.images)


@dataclass(frozen=True, slots=True)
class ImageTask:
    """One image to check; what ``check`` finds depends on nothing else."""

    file: Annotations
    image_id: int
    raw: msgspec.Raw

    def check(self, root: Path) -> Checked:
        """Reads the image below ``root`` (resolved) and judges it and each of its annotations."""
        split, rows = self.file.source.split, self.file.by_image.get(self.image_id, [])
        try:
            image = _decoded(self.raw, _Image)
            picture = read_picture(root, _locate(root, self.file, image), (image.height, image.width))
        except _Malformed as exc:
            return Checked(bad=[bad_row(split, "malformed_row", f"image: {exc}", image_id=self.image_id)])
        except ImageProblem as exc:
            detail = f"{exc}; {len(rows)} annotations are left out with it"
            return Checked(bad=[bad_row(split, exc.kind, detail, image_id=self.image_id)])
        checked = Checked()
        instances = [found for raw in rows if (found := self._instance(raw, picture.shape, checked)) is not None]
        checked.row = ImageRow(
            split=split,
            file=picture.file,
            sha256=picture.sha256,
            width=picture.shape[1],
            height=picture.shape[0],
            image_id=self.image_id,
            instances=tuple(instances),
            negative_categories=image.neg_category_ids,
            unfinished_categories=image.not_exhaustive_category_ids,
        )
        return checked

    def _instance(self, raw: msgspec.Raw, shape: Shape, checked: Checked) -> Instance | None:
        """The instance, or None with the reason noted in ``checked``."""
        try:
            row = _decoded(raw, _Annotation)
            if self.file.categories and row.category_id not in self.file.categories:
                raise MaskProblem("unknown_category", f"category {row.category_id} is not in the file's categories")
            instance, warnings = _judge(row, shape)
        except _Malformed as exc:
            checked.bad.append(self._bad(raw, "malformed_row", f"annotation: {exc}"))
        except MaskProblem as exc:
            checked.bad.append(self._bad(raw, exc.kind, str(exc)))
        else:
            checked.warnings.extend(warnings)
            return instance
        return None

    def _bad(self, raw: msgspec.Raw, problem: str, detail: str) -> BadRow:
        annotation_id = _decoded(raw, _Key).id
        return bad_row(self.file.source.split, problem, detail, image_id=self.image_id, annotation_id=annotation_id)


def open_annotations(root: Path, source: SplitSource, form: DatasetFormat) -> Annotations:
    """Indexes the annotation file of a split. ``ImportRefused`` if the file as a whole cannot be used."""
    try:
        path = resolve_inside(root, source.annotations)
    except ImageProblem as exc:
        raise ImportRefused(f"split {source.split!r}: annotations {exc}") from exc
    content = _load(path, source)
    categories, bad = _categories(content.categories, source.split, form)
    images = list(_unique_images(content.images, source.split, bad))
    known = {image_id for image_id, _ in images}
    by_image = _grouped(content.annotations, known, source.split, bad)
    return Annotations(source=source, format=form, categories=categories, images=images, by_image=by_image, bad=bad)


def _load(path: Path, source: SplitSource) -> _File:
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise ImportRefused(f"{source.annotations} has {size:,} bytes; an annotation file has 1 to {MAX_FILE_BYTES:,}")
    with path.open("rb") as file:
        # The raw rows keep the map alive; the kernel may drop its pages at any time.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return msgspec.json.decode(mapped, type=_File)
    except msgspec.ValidationError as exc:
        raise ImportRefused(f"{source.annotations} is not in COCO layout: {exc}") from exc
    except msgspec.DecodeError as exc:
        return _repaired(mapped, source, exc)
    except RecursionError as exc:
        raise ImportRefused(f"{source.annotations} is nested too deeply to be an annotation file") from exc


def _repaired(mapped: mmap.mmap, source: SplitSource, error: msgspec.DecodeError) -> _File:
    """Python writes NaN and Infinity into JSON, which is none then: as null they spoil their own rows only."""
    if len(mapped) > MAX_REPAIR_BYTES:
        raise ImportRefused(f"{source.annotations} is not JSON: {error}") from error
    try:
        content = json.loads(mapped[:], parse_constant=_null)
        return msgspec.json.decode(json.dumps(content, allow_nan=False).encode(), type=_File)
    except (ValueError, RecursionError) as exc:  # bad JSON, bad UTF-8, numbers beyond any float, another layout
        raise ImportRefused(f"{source.annotations} is not a JSON file in COCO layout: {error}") from exc


def _null(_constant: str) -> None:
    """What json puts for the NaN or Infinity it found."""


def _categories(rows: list[msgspec.Raw], split: str, form: DatasetFormat) -> tuple[dict[int, Category], list[BadRow]]:
    categories: dict[int, Category] = {}
    bad: list[BadRow] = []
    for raw in rows:
        try:
            category = _decoded(raw, _Category)
        except _Malformed as exc:
            bad.append(bad_row(split, "malformed_row", f"category: {exc}"))
            continue
        if category.id in categories:
            bad.append(bad_row(split, "duplicate_id", f"category {category.id} is there more than once; the first is kept"))
        categories.setdefault(category.id, category.kept(form))
    return categories, bad


def _unique_images(rows: list[msgspec.Raw], split: str, bad: list[BadRow]) -> Iterator[tuple[int, msgspec.Raw]]:
    seen: set[int] = set()
    for number, raw in enumerate(rows):
        try:
            key = _decoded(raw, _Key)
        except _Malformed as exc:
            bad.append(bad_row(split, "malformed_row", f"image number {number} of the file: {exc}"))
            continue
        if key.id in seen:
            bad.append(bad_row(split, "duplicate_id", "image id is there more than once; the first is kept", image_id=key.id))
        else:
            seen.add(key.id)
            yield key.id, raw


def _grouped(rows: list[msgspec.Raw], known: set[int], split: str, bad: list[BadRow]) -> dict[int, list[msgspec.Raw]]:
    groups: dict[int, list[msgspec.Raw]] = {}
    seen: set[int] = set()
    for number, raw in enumerate(rows):
        try:
            key = _decoded(raw, _AnnotationKey)
        except _Malformed as exc:
            bad.append(bad_row(split, "malformed_row", f"annotation number {number} of the file: {exc}"))
            continue
        if key.id in seen:
            detail = "annotation id is there more than once; the first is kept"
            bad.append(bad_row(split, "duplicate_id", detail, image_id=key.image_id, annotation_id=key.id))
        elif key.image_id not in known:
            detail = f"image {key.image_id} is not in the file's images"
            bad.append(bad_row(split, "unknown_image", detail, image_id=key.image_id, annotation_id=key.id))
        else:
            seen.add(key.id)
            groups.setdefault(key.image_id, []).append(raw)
    return groups


class _Malformed(ValueError):
    """A row that is not of the expected form."""


def _decoded(raw: msgspec.Raw, form: type[Form]) -> Form:
    try:
        return msgspec.json.decode(raw, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _Malformed(str(exc)) from exc


def _locate(root: Path, file: Annotations, image: _Image) -> str:
    """The image's path below the root. LVIS names files by URL only, and draws its val images from two COCO folders."""
    if image.coco_url and (file.format is DatasetFormat.LVIS or not image.file_name):
        folder, name = image.coco_url.split("/")[-2:] if "/" in image.coco_url else ("", image.coco_url)
        nested = f"{file.source.images}/{folder}/{name}"
        return nested if (root / nested).is_file() else f"{file.source.images}/{name}"
    if not image.file_name:
        raise ImageProblem("malformed_row", "image with neither file_name nor coco_url")
    if image.file_name.startswith("/"):
        raise ImageProblem("unsafe_path", f"{image.file_name!r} is absolute; paths are relative to the folder of images")
    return f"{file.source.images}/{image.file_name}"


def _judge(row: _Annotation, shape: Shape) -> tuple[Instance, list[str]]:
    """An annotation as an instance, with warnings; ``MaskProblem`` if it is bad."""
    mask, mask_warnings = _mask(row.segmentation, shape)
    pixels = rle.area(mask)
    if pixels == 0:
        raise MaskProblem("empty_mask", "the mask has no pixel inside the image")
    box, box_warnings = _box(row.bbox, rle.tight_box(mask), shape)
    area, area_warnings = (row.area, []) if row.area is not None and row.area > 0 else (float(pixels), ["area_from_mask"])
    instance = Instance(id=row.id, category=row.category_id, bbox=box, area=area, iscrowd=bool(row.iscrowd), rle=mask)
    return instance, [*mask_warnings, *box_warnings, *area_warnings]


def _mask(segmentation: list[list[float]] | _Rle, shape: Shape) -> tuple[Rle, tuple[str, ...]]:
    if isinstance(segmentation, _Rle):
        return rle.from_counts(segmentation.counts, segmentation.size, shape), ()
    warnings = checked_rings(segmentation, shape)
    return rle.from_rings(segmentation, shape), warnings


def _box(
    bbox: list[float] | None, tight: tuple[float, float, float, float], shape: Shape
) -> tuple[tuple[float, float, float, float], list[str]]:
    """The box cut at the image's border, or the mask's own where the row has none."""
    if bbox is None:
        return tight, ["box_from_mask"]
    if len(bbox) != 4 or bbox[2] < 0 or bbox[3] < 0:
        raise MaskProblem("malformed_box", f"box {bbox[:8]} is not x, y, width, height")
    x0, y0 = max(0.0, bbox[0]), max(0.0, bbox[1])
    x1, y1 = min(float(shape[1]), bbox[0] + bbox[2]), min(float(shape[0]), bbox[1] + bbox[3])
    if x0 > x1 or y0 > y1:
        raise MaskProblem("box_outside", f"box {bbox} has nothing in common with the {shape[1]} x {shape[0]} image")
    # Whole-pixel rounding of an outline at the border is not worth a word.
    cut = bbox[0] < -1 or bbox[1] < -1 or bbox[0] + bbox[2] > shape[1] + 1 or bbox[1] + bbox[3] > shape[0] + 1
    return (x0, y0, x1 - x0, y1 - y0), ["box_cut"] if cut else []
