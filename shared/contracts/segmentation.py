"""`POST /v1/segment`: prompts in, masks out."""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from shared.contracts.base import Lenient, Name, Strict

DEFAULT_DEPLOYMENT: Final = "default"
MAX_PROMPTS: Final = 256

Label = Annotated[str, StringConstraints(max_length=128)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]


class Output(StrEnum):
    """The form of a mask."""

    PNG = "png"
    """Base64, one bit per pixel."""
    RLE = "rle"
    """COCO's compressed run lengths: size [height, width] and counts."""
    POLYGONS = "polygons"
    """Rings x, y, x, y, ... round the mask's pixels; holes are rings that run the other way."""
    LOGITS = "logits"
    """float32, little-endian, row by row, base64: the network's own cells, whatever the view."""


class View(StrEnum):
    """What a mask is a mask of."""

    IMAGE = "image"
    """The whole image: the window's mask pasted at its place."""
    WINDOW = "window"
    """The window alone, in the network's cells."""


class Prompt(Strict):
    """Which object is meant. Coordinates in pixels of the upright image; a point's pixel is the one that it lies in."""

    id: Label | None = Field(default=None, description="comes back with the answer; null: its number in the request")
    label: Label | None = Field(default=None, description="comes back with the answer")
    point: tuple[Coordinate, Coordinate] | None = Field(default=None, description="x, y")
    box: tuple[Coordinate, Coordinate, Coordinate, Coordinate] | None = Field(default=None, description="x0, y0, x1, y1")
    side: int | None = Field(
        default=None, ge=8, le=8192, description="with a point: side of its window in pixels; null: as the model was trained"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Prompt":
        if (self.point is None) == (self.box is None):
            raise ValueError("a prompt is a point or a box")
        if self.side is not None and self.point is None:
            raise ValueError("side belongs to a point")
        return self


class Everything(Strict):
    """A grid of points over the image instead of prompts; of masks that overlap the most confident is kept."""

    points_per_side: int = Field(default=8, ge=1, le=16, description="along the longer side; fewer along the shorter one")
    side: int | None = Field(default=None, ge=8, le=8192, description="of the windows; null: as the model was trained")
    nms_iou: float = Field(default=0.5, ge=0, le=1, description="masks that overlap more are one object")
    min_confidence: float = Field(default=0.2, ge=0, le=1)
    max_objects: int = Field(default=100, ge=1, le=MAX_PROMPTS)


class SegmentIn(Strict):
    """JSON body, or the part `request` of a multipart body whose part `image` is the file."""

    image: str | None = Field(default=None, description="base64 of a JPEG, PNG or WebP file; null in a multipart body")
    prompts: list[Prompt] = Field(default_factory=list, max_length=MAX_PROMPTS)
    everything: Everything | None = None
    deployment: Name = DEFAULT_DEPLOYMENT
    output: Output = Output.PNG
    view: View = View.IMAGE
    deadline_ms: int | None = Field(default=None, ge=1, le=600_000, description="null: the deployment's")

    @model_validator(mode="after")
    def _asks_something(self) -> "SegmentIn":
        if bool(self.prompts) == (self.everything is not None):
            raise ValueError("give prompts (at least one), or everything")
        return self


class MaskOut(Lenient):
    """One mask; the field of the wanted output is filled."""

    format: Output
    size: tuple[int, int] = Field(description="height, width")
    png: str | None = None
    counts: str | None = Field(default=None, description="of rle")
    polygons: list[list[float]] | None = None
    logits: str | None = None


class WindowOut(Lenient):
    """What the network saw: image pixels [x0, x1) x [y0, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int
    border: str
    clipped: bool


class ObjectOut(Lenient):
    """The answer to one prompt."""

    id: str
    label: str | None = None
    mask: MaskOut | None = Field(description="null: nothing is there")
    area: int = Field(description="image pixels of the mask, inside the image")
    box: tuple[int, int, int, int] | None = Field(description="x0, y0, x1, y1 round the mask in the image")
    confidence: float = Field(description="IoU to expect with the object meant, 0..1; 0 without a mask")
    calibrated: bool = Field(description="false: the version brings no calibration, confidence is the soft IoU itself")
    window: WindowOut
    point: tuple[float, float] | None = Field(default=None, description="of everything: the grid's point")


class TimingsOut(Lenient):
    """Milliseconds."""

    queue: float
    decode: float
    window: float
    run: float
    encode: float


class ImageOut(Lenient):
    """The image as it was decoded: upright."""

    width: int
    height: int
    format: Literal["JPEG", "PNG", "WEBP"]


class SegmentOut(Lenient):
    """The answer."""

    deployment: str
    generation: int
    model: str = Field(description="name/version that answered")
    engine: str
    image: ImageOut
    objects: list[ObjectOut]
    timings_ms: TimingsOut


def body_schema(contract: type[Strict]) -> dict[str, Any]:
    """OpenAPI's request body of a route that reads it by hand: ``contract``, with its image in it or beside it in a form."""
    beside = f"{contract.__name__} without image"
    both = {"type": "object", "required": ["image", "request"], "properties": {
        "image": {"type": "string", "format": "binary", "description": "JPEG, PNG or WebP"},
        "request": {"type": "string", "contentMediaType": "application/json", "description": beside},
    }}  # fmt: skip
    schema = {"$ref": f"#/components/schemas/{contract.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema}, "multipart/form-data": {"schema": both}}}
