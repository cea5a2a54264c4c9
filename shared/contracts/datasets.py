"""Datasets: where they come from, what was found in them, what a job selects of them."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Digest, Lenient, Name, Strict, Tags, Timestamp


class DatasetFormat(StrEnum):
    """How the annotations are written."""

    COCO = "coco"
    LVIS = "lvis"
    MASKS = "masks"
    """One binary or labelled PNG per image, same stem, in a folder of masks."""


RelativePath = Annotated[str, Field(min_length=1, max_length=1024)]


class SplitSource(Strict):
    """One split inside a folder or an archive. Paths are relative to its root."""

    split: Name
    images: RelativePath = Field(description="folder of images")
    annotations: RelativePath = Field(description="COCO or LVIS JSON file; for `masks` the folder of masks")


class FolderSource(Strict):
    """A folder that the service's host and the importing worker both see. It must lie below a configured root."""

    kind: Literal["folder"] = "folder"
    root: str = Field(min_length=1, max_length=4096, description="absolute path or file:// URL")
    format: DatasetFormat = DatasetFormat.COCO
    splits: list[SplitSource] = Field(min_length=1, max_length=16)


class ArchiveSource(Strict):
    """A zip or tar that was uploaded with `POST /v1/blobs`."""

    kind: Literal["archive"] = "archive"
    blob: Digest
    format: DatasetFormat = DatasetFormat.COCO
    splits: list[SplitSource] = Field(min_length=1, max_length=16)


class GeneratorSource(Strict):
    """The built-in generator: textured, overlapping, partly hidden shapes with exact masks. Same values, same bytes."""

    kind: Literal["generator"] = "generator"
    seed: int = Field(default=0, ge=0, lt=2**32)
    images: int = Field(default=400, ge=1, le=100_000, description="all splits together")
    width: int = Field(default=320, ge=96, le=2048, description="pixels")
    height: int = Field(default=240, ge=96, le=2048, description="pixels")
    max_objects: int = Field(default=10, ge=1, le=64, description="per image")


Source = Annotated[FolderSource | ArchiveSource | GeneratorSource, Field(discriminator="kind")]


class SplitRule(Strict):
    """Makes splits from the images of split `from_split` by a seeded hash of the image id: one image, one split."""

    from_split: Name = "all"
    seed: int = Field(default=0, ge=0, lt=2**32)
    fractions: dict[Name, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _fractions_fill_one(self) -> "SplitRule":
        total = sum(self.fractions.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"fractions must add up to 1, they add up to {total:.6g}")
        return self


class DatasetIn(Strict):
    """Registers a dataset."""

    name: Name
    source: Source
    split_rule: SplitRule | None = None
    description: str = Field(default="", max_length=2000)
    tags: Tags = Field(default_factory=dict)


class DatasetState(StrEnum):
    """importing -> ready | failed."""

    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


class SplitCounts(Lenient):
    """What a split holds after bad rows were left out."""

    images: int
    instances: int
    crowd: int = 0


class BadRow(Lenient):
    """One annotation or image that was left out, and why."""

    split: str
    problem: str = Field(description="missing_image, unreadable_image, image_size_differs, duplicate_id, empty_polygon, ...")
    detail: str
    image_id: str | None = None
    annotation_id: str | None = None


class DatasetReport(Lenient):
    """What validation found. ``bad_rows`` is complete up to its limit; ``problems`` counts all of them."""

    splits: dict[str, SplitCounts]
    problems: dict[str, int] = Field(description="bad rows by kind of problem; these rows were left out")
    warnings: dict[str, int] = Field(default_factory=dict, description="odd rows that were kept, by kind")
    bad_rows: list[BadRow]
    bad_rows_truncated: bool = False


class DatasetOut(Lenient):
    """A registered dataset."""

    id: str
    name: str
    state: DatasetState
    source: Source
    split_rule: SplitRule | None = None
    description: str
    tags: dict[str, str]
    owner: str
    created_at: Timestamp
    import_job: str | None = None
    digest: Digest | None = Field(default=None, description="over annotations and image digests; None until ready")
    manifest: Digest | None = Field(default=None, description="blob of the canonical manifest; None until ready")
    splits: dict[str, SplitCounts] = Field(default_factory=dict)
    problems: dict[str, int] = Field(default_factory=dict)
    error: str | None = None


class DatasetSelection(Strict):
    """One split of one dataset, as a job names it."""

    dataset: str = Field(min_length=1, max_length=63, description="name or id")
    split: Name
