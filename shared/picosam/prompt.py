"""Prompt windows: from a point or a box in an image to the network's input, and from its mask back into the image.

numpy alone, because training, serving, evaluation and the camera run this very code. Conventions:

- an image is an array [H, W, 3] or [H, W]; its ``shape`` argument is (height, width);
- a point is (x, y); as a pixel it is a pair of integers, as a position it is continuous and pixel i covers [i, i + 1);
- a box is (x0, y0, x1, y1) in continuous coordinates, x1 and y1 exclusive (COCO's x, y, w, h is (x, y, x + w, y + h)).

For masks (nearest pixel) the way in and the way back are exact inverses: a window no larger than the network's
input comes back pixel for pixel, and a mask pasted into a window no smaller than the input is read back cell for cell.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.contracts.windows import Border, WindowPolicy

INPUT_SIZE: Final = 96
"""Side of the network's input, in cells."""

INPUT_SCALE: Final = 1 / 256
"""A network's input is pixel * INPUT_SCALE: the sensor's own format, an exact power of two. Never pixel / 255."""

WIDTH_SHARE: Final = 0.15
"""Side of a point's window as a share of the image width: 96 of COCO's 640 pixels."""

SHRINK_FLOOR: Final = 0.25
"""Below this share of its nominal side a shrunk window is moved instead: at a corner it would end as one pixel."""

Pixel: TypeAlias = tuple[int, int]
Position: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]
Shape: TypeAlias = tuple[int, int]
ImageArray: TypeAlias = NDArray[np.uint8]
MaskArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What the network sees: image pixels [x0, x1) x [y0, y1). With ``Border.PAD`` it may leave the image.

    ``clipped`` says that the nominal window left the image, so that the border rule had to act (or, for ``PAD``, that part
    of the window is black). Only ``Border.AUTHORS`` makes windows that are not square.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    border: Border
    clipped: bool

    def __post_init__(self) -> None:
        if self.x0 >= self.x1 or self.y0 >= self.y1:
            raise ValueError(f"a window needs x0 < x1 and y0 < y1, got {(self.x0, self.y0, self.x1, self.y1)}")

    @property
    def width(self) -> int:
        """Image pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Image pixels."""
        return self.y1 - self.y0

    def to_cells(self, position: Position, size: int = INPUT_SIZE) -> Position:
        """Where an image position lies in a model input of ``size`` cells."""
        x, y = position
        return (x - self.x0) * size / self.width, (y - self.y0) * size / self.height

    def to_image(self, position: Position, size: int = INPUT_SIZE) -> Position:
        """The inverse of ``to_cells``."""
        x, y = position
        return self.x0 + x * self.width / size, self.y0 + y * self.height / size


def window_for(policy: WindowPolicy, shape: Shape, *, point: Pixel | None = None, box: Box | None = None) -> Window:
    """The window that ``policy`` makes of a prompt: of ``point`` or of ``box``, whichever the policy asks for.

    ValueError if that one is missing.
    """
    if policy.prompt == "point":
        if point is None:
            raise ValueError("the window policy takes point prompts, but no point was given")
        side = policy.side if policy.side is not None else share_of_width(shape)
        return point_window(point, shape, side=side, border=policy.border)
    if box is None:
        raise ValueError("the window policy takes box prompts, but no box was given")
    return box_window(box, shape, margin=policy.box_margin, border=policy.border)


def share_of_width(shape: Shape) -> int:
    """Side of a point's window on images of any size, in pixels; at least 1."""
    return max(1, round(WIDTH_SHARE * shape[1]))


def point_window(point: Pixel, shape: Shape, *, side: int = INPUT_SIZE, border: Border = Border.PAD) -> Window:
    """The window of ``side`` image pixels round ``point``. ValueError for a point outside the image or a side below 1."""
    x, y = point
    height, width = shape
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"point {(x, y)} lies outside the image of {width} x {height} pixels")
    return _bordered(x, y, side, shape, border)


def box_window(box: Box, shape: Shape, *, margin: float = 0.1, border: Border = Border.PAD) -> Window:
    """The square round ``box`` with ``margin`` of its longer side added per side, in whole pixels.

    Parts of the box outside the image are cut off first. ``Border.AUTHORS`` is what PicoSAM3's published code does: the
    square is cut at the image's edges, all of them, and so need not stay square. ValueError for a box without area inside
    the image.
    """
    height, width = shape
    if any(math.isnan(edge) for edge in box):  # max and min would let it pass
        raise ValueError(f"box {tuple(box)} is not made of numbers")
    x0, y0 = max(0.0, box[0]), max(0.0, box[1])
    x1, y1 = min(float(width), box[2]), min(float(height), box[3])
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"box {tuple(box)} has no area inside the image of {width} x {height} pixels")
    if border is Border.AUTHORS:
        return _published_box_window((x0, y0, x1, y1), shape, margin)
    side = math.ceil(max(x1 - x0, y1 - y0) * (1 + 2 * margin) - 1e-6)
    x, y = min(int((x0 + x1) / 2), width - 1), min(int((y0 + y1) / 2), height - 1)
    return _bordered(x, y, max(1, side), shape, border)


def _published_box_window(box: Box, shape: Shape, margin: float) -> Window:
    """Corners rounded down after cutting, as there; a box thinner than a pixel keeps one, where that code would fail."""
    x0, y0, x1, y1 = box
    width, height = (x1 - x0) * (1 + 2 * margin), (y1 - y0) * (1 + 2 * margin)
    side = max(width, height)
    # In the published order of operations, so that what is rounded down is the same number.
    left, top = x0 - (x1 - x0) * margin + width / 2 - side / 2, y0 - (y1 - y0) * margin + height / 2 - side / 2
    starts = [min(int(max(0, start)), length - 1) for start, length in ((left, shape[1]), (top, shape[0]))]
    ends = [int(min(length, start + side)) for start, length in ((left, shape[1]), (top, shape[0]))]
    ends = [max(start + 1, end) for start, end in zip(starts, ends, strict=True)]
    clipped = left < 0 or top < 0 or left + side > shape[1] or top + side > shape[0]
    return Window(x0=starts[0], y0=starts[1], x1=ends[0], y1=ends[1], border=Border.AUTHORS, clipped=clipped)


def _bordered(x: int, y: int, side: int, shape: Shape, border: Border) -> Window:
    """Applies the border rule to the window of ``side`` whose middle pixel is (x, y)."""
    if side < 1:
        raise ValueError(f"a window's side must be at least 1 pixel, got {side}")
    height, width = shape
    left, top = x - side // 2, y - side // 2
    clipped = left < 0 or top < 0 or left + side > width or top + side > height
    x0, x1, y0, y1 = left, left + side, top, top + side
    match border:
        case Border.AUTHORS:
            (x0, x1), (y0, y1) = _authors_span(left, side, width), _authors_span(top, side, height)
        case Border.CLAMP:
            (x0, x1), (y0, y1) = _clamped_spans(x, y, side, shape)
        case Border.SHRINK:
            (x0, x1), (y0, y1) = _clamped_spans(x, y, _shrunk_side(x, y, side, shape), shape)
        case Border.PAD:
            pass
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=border, clipped=clipped)


def _authors_span(start: int, side: int, length: int) -> tuple[int, int]:
    """PicoSAM2's published code: the low edge is moved into the image, the high edge is cut (and stretched by the resize)."""
    start = max(0, start)
    return start, min(length, start + side)


def _clamped_spans(x: int, y: int, side: int, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """A square inside the image, as near to the prompt as can be; smaller where the image itself is."""
    side = min(side, *shape)
    x0 = min(max(0, x - side // 2), shape[1] - side)
    y0 = min(max(0, y - side // 2), shape[0] - side)
    return (x0, x0 + side), (y0, y0 + side)


def _shrunk_side(x: int, y: int, side: int, shape: Shape) -> int:
    """The largest side up to ``side`` that keeps (x, y) in the middle and fits, but not below the floor."""
    height, width = shape
    # s // 2 pixels lie before the prompt, s - s // 2 from it on.
    fitting = min(2 * x + 1, 2 * (width - x), 2 * y + 1, 2 * (height - y))
    return min(side, max(fitting, math.ceil(SHRINK_FLOOR * side)))


def prompt_point(mask: MaskArray) -> Pixel:
    """The published protocol's prompt: the centre of the mask's extent, snapped into the mask; of an empty mask the image's."""
    height, width = mask.shape
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if columns.size == 0:
        return width // 2, height // 2
    centre = (int(columns[0] + columns[-1]) // 2, int(rows[0] + rows[-1]) // 2)
    return snap_point(mask, centre)


def snap_point(mask: MaskArray, point: Pixel) -> Pixel:
    """``point`` if it lies in the mask, else the nearest mask pixel (of several the first in reading order).

    A mask without pixels leaves the point as it is.
    """
    x, y = point
    if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x]:
        return point
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        return point
    nearest = int(np.argmin((columns - x) ** 2 + (rows - y) ** 2))
    return int(columns[nearest]), int(rows[nearest])


def extract(image: ImageArray, window: Window, size: int = INPUT_SIZE) -> ImageArray:
    """The window's pixels as the network sees them: uint8 [size, size, 3] (or [size, size] of a grey image).

    Outside the image is 0. Bilinear with half-pixel centres; the filter widens where pixels are dropped, as in Pillow,
    whose result the published protocol takes (agreement within one grey level, tested).
    """
    pixels = crop(image, window)
    if pixels.shape[:2] == (size, size):
        return pixels
    columns, rows = _linear_weights(window.width, size), _linear_weights(window.height, size)
    # Rounded between the passes, as Pillow does: across first, then down.
    across = _rounded(np.einsum("jw,hw...->hj...", columns, pixels, optimize=True))
    return _rounded(np.einsum("ih,hj...->ij...", rows, across, optimize=True))


def crop(image: NDArray[Any], window: Window) -> NDArray[Any]:
    """A copy of the window's pixels at native resolution, zero outside the image."""
    inside, part = _overlap(window, (image.shape[0], image.shape[1]))
    pixels = np.zeros((window.height, window.width, *image.shape[2:]), dtype=image.dtype)
    pixels[part] = image[inside]
    return pixels


def to_input(windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 [N, S, S, 3] to the network's input, float32 [N, 3, S, S] in pixel/256."""
    planes: NDArray[Any] = windows.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(planes, dtype=np.float32) * np.float32(INPUT_SCALE)


def from_input(inputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The inverse of ``to_input``; what is no whole pixel value becomes the nearest one."""
    pixels = np.rint(inputs / np.float32(INPUT_SCALE)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def extract_mask(mask: MaskArray, window: Window, size: int = INPUT_SIZE) -> MaskArray:
    """The window's part of a mask: bool [size, size], nearest pixel. Outside the image nothing is object."""
    rows, columns = window.y0 + _nearest(window.height, size), window.x0 + _nearest(window.width, size)
    height, width = mask.shape
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
    # Looked up cell by cell: a window round a panorama's object is far larger than what is taken from it.
    found: MaskArray = mask[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]] & inside
    return found


def paste(mask: MaskArray, window: Window, shape: Shape) -> MaskArray:
    """The inverse of ``extract_mask``: bool [H, W] with the square ``mask`` at its place, False elsewhere."""
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        raise ValueError(f"a window's mask is square, got shape {mask.shape}")
    size = mask.shape[0]
    rows, columns = _nearest(size, window.height), _nearest(size, window.width)
    image = np.zeros(shape, dtype=np.bool_)
    inside, part = _overlap(window, shape)
    image[inside] = mask[rows[part[0]][:, None], columns[part[1]][None, :]]
    return image


def cell_edges(window: Window, shape: Shape, size: int = INPUT_SIZE) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where ``paste`` puts the cells: cell (r, c) fills rows[r]:rows[r + 1], columns[c]:columns[c + 1] of the image.

    Two arrays of size + 1 image coordinates, cut at the image's edges, so that cells outside and cells that a small window
    drops fill nothing.
    """
    steps = np.arange(size + 1)
    # Pixel i has cell ((2i + 1) * size) // (2 * length), so the first one of cell k is ceil(k * length / size - 1/2).
    rows = window.y0 + (2 * window.height * steps + size - 1) // (2 * size)
    columns = window.x0 + (2 * window.width * steps + size - 1) // (2 * size)
    return rows.clip(0, shape[0]), columns.clip(0, shape[1])


def _overlap(window: Window, shape: Shape) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where window and image meet: (rows, columns) in the image, and the same in the window."""
    x0, x1 = (min(max(0, x), shape[1]) for x in (window.x0, window.x1))
    y0, y1 = (min(max(0, y), shape[0]) for y in (window.y0, window.y1))
    inside = slice(y0, y1), slice(x0, x1)
    return inside, (slice(y0 - window.y0, y1 - window.y0), slice(x0 - window.x0, x1 - window.x0))


@lru_cache(maxsize=256)
def _nearest(source: int, target: int) -> NDArray[np.intp]:
    """For each of ``target`` cells the one of ``source`` that its centre falls into.

    In whole numbers: Pillow adds up floats, so where a centre lies exactly between two pixels it may take the other one
    (of all windows cut to 1..96 pixels only at 64, in 17 of 96 columns), and would not be undone exactly.
    """
    indices = ((2 * np.arange(target) + 1) * source) // (2 * target)
    indices.flags.writeable = False
    return indices


@lru_cache(maxsize=256)
def _linear_weights(source: int, target: int) -> NDArray[np.float32]:
    """float32 [target, source]: rows of triangle-filter weights that add up to 1."""
    scale = source / target
    reach = max(1.0, scale)
    centres = (np.arange(target) + 0.5) * scale
    distances = np.abs(np.arange(source)[None, :] + 0.5 - centres[:, None]) / reach
    triangle = np.maximum(0.0, 1.0 - distances)
    weights: NDArray[np.float32] = (triangle / triangle.sum(axis=1, keepdims=True)).astype(np.float32)
    weights.flags.writeable = False
    return weights


def _rounded(values: NDArray[np.float32]) -> ImageArray:
    """float in 0..255 to uint8, halves up."""
    return (values + np.float32(0.5)).clip(0, 255).astype(np.uint8)
