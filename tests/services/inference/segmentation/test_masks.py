"""Every form of a mask says the same as the pixels do."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from services.inference.segmentation.masks import encode, placed
from shared.contracts.segmentation import Output, View
from shared.contracts.windows import Border
from shared.picosam.prompt import Window, paste

SIZE = 12


@st.composite
def windows(draw):
    """Windows of any side, smaller and larger than the cells, inside and partly outside of small images."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    x0, y0 = draw(st.integers(1 - width, shape[1] - 1)), draw(st.integers(1 - height, shape[0] - 1))
    return Window(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height, border=Border.PAD, clipped=False), shape


cells = arrays(np.bool_, (SIZE, SIZE))


def as_logits(mask):
    return np.where(mask, np.float32(1), np.float32(-1))


def filled(polygons, shape):
    """Even-odd: a pixel is inside if its middle has an odd number of edges to its left."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    odd = np.zeros(shape, np.bool_)
    for ring in polygons:
        points = np.reshape(ring, (-1, 2))
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            assert x0 == x1 or y0 == y1, "outlines run along the edges of pixels"
            odd ^= (min(y0, y1) < rows) & (rows < max(y0, y1)) & (x0 < columns)
    return odd


@given(cells, windows())
def test_area_and_box_are_those_of_the_pasted_mask(mask, placing):
    window, shape = placing
    spot, pixels = placed(mask, window, shape), paste(mask, window, shape)
    assert spot.area == pixels.sum()
    box = Image.fromarray(pixels).getbbox()
    assert spot.box == box


@given(cells, windows())
def test_run_lengths_are_byte_for_byte_those_that_coco_s_tools_make_of_the_pasted_mask(mask, placing):
    window, shape = placing
    pixels = paste(mask, window, shape)
    assert placed(mask, window, shape).rle() == coco.encode(np.asfortranarray(pixels.view(np.uint8)))


@given(cells, windows())
def test_polygons_filled_are_the_pasted_mask(mask, placing):
    window, shape = placing
    polygons = placed(mask, window, shape).polygons()
    assert (filled(polygons, shape) == paste(mask, window, shape)).all()
    assert all(len(ring) >= 8 for ring in polygons)


def test_outlines_have_no_thorns_where_cells_are_smaller_than_a_pixel():
    mask = np.ones((SIZE, SIZE), np.bool_)
    mask[0, 0] = mask[6, 6] = False
    window = Window(x0=0, y0=0, x1=7, y1=7, border=Border.PAD, clipped=False)
    assert all(len(ring) >= 8 for ring in placed(mask, window, (1, 1)).polygons())


@settings(max_examples=30)
@given(cells, windows())
def test_a_png_holds_the_pasted_mask_at_one_bit_per_pixel(mask, placing):
    window, shape = placing
    out = encode(as_logits(mask), window, placed(mask, window, shape), Output.PNG, View.IMAGE)
    with Image.open(io.BytesIO(base64.b64decode(out.png))) as image:
        assert image.mode == "1"
        assert (np.asarray(image) == paste(mask, window, shape)).all()
    assert out.size == shape


def test_holes_run_the_other_way_round_than_what_they_are_holes_of():
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[2:9, 2:9], mask[4:6, 4:6] = True, False
    window = Window(x0=0, y0=0, x1=SIZE, y1=SIZE, border=Border.PAD, clipped=False)
    outer, hole = (np.reshape(ring, (-1, 2)) for ring in placed(mask, window, (SIZE, SIZE)).polygons())

    def turning(ring):
        x, y = ring.T
        return np.sign((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())

    assert {tuple(point) for point in outer} == {(2, 2), (9, 2), (9, 9), (2, 9)}
    assert {tuple(point) for point in hole} == {(4, 4), (6, 4), (6, 6), (4, 6)}
    assert turning(outer) == -turning(hole) != 0


def test_a_drawing_library_fills_the_outlines_of_a_large_mask_again():
    disc = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 40
    window = Window(x0=30, y0=20, x1=330, y1=320, border=Border.PAD, clipped=False)
    (ring,) = placed(disc, window, (400, 400)).polygons()
    # Drawn at four times the size, since drawing libraries count the outline's own pixels as inside.
    canvas = Image.new("1", (1600, 1600))
    ImageDraw.Draw(canvas).polygon([4 * value for value in ring], fill=1)
    assert (np.asarray(canvas)[2::4, 2::4] == paste(disc, window, (400, 400))).all()


@given(cells)
def test_the_window_s_view_is_a_mask_of_cells(mask):
    window = Window(x0=-3, y0=7, x1=30, y1=40, border=Border.PAD, clipped=True)
    outs = {output: encode(as_logits(mask), window, placed(mask, window, (50, 60)), output, View.WINDOW) for output in Output}
    assert {out.size for out in outs.values()} == {(SIZE, SIZE)}
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(outs[Output.PNG].png)))) == mask).all()
    assert (coco.decode({"size": [SIZE, SIZE], "counts": outs[Output.RLE].counts}) == mask).all()
    assert (filled(outs[Output.POLYGONS].polygons, (SIZE, SIZE)) == mask).all()


@pytest.mark.parametrize("view", list(View))
def test_logits_are_the_network_s_own_numbers_whatever_the_view(view):
    logits = np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32)
    window = Window(x0=0, y0=0, x1=50, y1=50, border=Border.PAD, clipped=False)
    out = encode(logits, window, placed(logits > 0, window, (60, 60)), Output.LOGITS, view)
    assert (np.frombuffer(base64.b64decode(out.logits), "<f4").reshape(out.size) == logits).all()
