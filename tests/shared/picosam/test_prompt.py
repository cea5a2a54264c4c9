import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.prompt import (
    SHRINK_FLOOR,
    Window,
    box_window,
    cell_edges,
    extract,
    extract_mask,
    from_input,
    paste,
    point_window,
    prompt_point,
    share_of_width,
    snap_point,
    to_input,
    window_for,
)

lengths = st.one_of(st.integers(1, 40), st.integers(41, 400), st.integers(1000, 6000))
sides = st.one_of(st.integers(1, 40), st.just(96), st.integers(41, 2048))
borders = st.sampled_from(Border)


@st.composite
def prompts(draw, length=lengths):
    """(shape, point): often in a corner or on an edge."""
    height, width = draw(length), draw(length)
    x = draw(st.one_of(st.sampled_from([0, width - 1, width // 2]), st.integers(0, width - 1)))
    y = draw(st.one_of(st.sampled_from([0, height - 1, height // 2]), st.integers(0, height - 1)))
    return (height, width), (x, y)


def a_window(x0=0, y0=0, x1=96, y1=96, border=Border.PAD, clipped=False):
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=border, clipped=clipped)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def is_inside(window, shape):
    return window.x0 >= 0 and window.y0 >= 0 and window.x1 <= shape[1] and window.y1 <= shape[0]


# The four border rules


@given(prompt=prompts(), side=sides, border=borders)
def test_every_window_contains_its_prompt(prompt, side, border):
    shape, (x, y) = prompt
    window = point_window((x, y), shape, side=side, border=border)
    assert window.x0 <= x < window.x1
    assert window.y0 <= y < window.y1


@given(prompt=prompts(), side=sides)
def test_a_window_that_fits_is_the_same_under_every_rule(prompt, side):
    shape, point = prompt
    spans = {(w.x0, w.y0, w.x1, w.y1, w.clipped) for w in (point_window(point, shape, side=side, border=b) for b in Border)}
    clipped = {span[4] for span in spans}
    assert len(clipped) == 1
    assert clipped == {True} or len(spans) == 1


@given(prompt=prompts(), side=sides)
def test_pad_keeps_the_prompt_in_the_middle_and_the_side(prompt, side):
    shape, (x, y) = prompt
    window = point_window((x, y), shape, side=side, border=Border.PAD)
    assert (window.x0, window.y0, window.width, window.height) == (x - side // 2, y - side // 2, side, side)
    assert window.clipped is not is_inside(window, shape)


@given(prompt=prompts(), side=sides)
def test_authors_moves_the_low_edge_inside_and_cuts_the_high_edge(prompt, side):
    shape, (x, y) = prompt
    window = point_window((x, y), shape, side=side, border=Border.AUTHORS)
    # Word for word the rule of the published code.
    left, top = max(0, x - side // 2), max(0, y - side // 2)
    assert (window.x0, window.y0) == (left, top)
    assert (window.x1, window.y1) == (min(shape[1], left + side), min(shape[0], top + side))


@given(prompt=prompts(), side=sides)
def test_clamp_moves_the_whole_square_inside(prompt, side):
    shape, point = prompt
    window = point_window(point, shape, side=side, border=Border.CLAMP)
    assert is_inside(window, shape)
    assert window.width == window.height == min(side, *shape)


@given(prompt=prompts(), side=sides)
def test_shrink_keeps_the_prompt_in_the_middle_until_the_floor(prompt, side):
    shape, (x, y) = prompt
    window = point_window((x, y), shape, side=side, border=Border.SHRINK)
    assert is_inside(window, shape)
    assert window.width == window.height <= side
    centred = (window.x0, window.y0) == (x - window.width // 2, y - window.width // 2)
    assert centred or window.width == min(-int(-side * SHRINK_FLOOR // 1), *shape)


@given(prompt=prompts(), side=sides)
def test_shrink_takes_the_largest_square_that_fits_round_the_prompt(prompt, side):
    shape, (x, y) = prompt
    window = point_window((x, y), shape, side=side, border=Border.SHRINK)
    larger = window.width + 1
    grown = point_window((x, y), shape, side=larger, border=Border.PAD)
    assert larger > side or not is_inside(grown, shape)


def test_in_the_corner_of_coco_the_rules_differ_as_documented():
    shape, point = (480, 640), (630, 5)
    spans = {b: point_window(point, shape, border=b) for b in Border}
    found = {b.value: (w.x0, w.y0, w.x1, w.y1) for b, w in spans.items()}
    assert found == {
        "authors": (582, 0, 640, 96),
        "pad": (582, -43, 678, 53),
        "clamp": (544, 0, 640, 96),
        "shrink": (616, 0, 640, 24),
    }
    assert all(window.clipped for window in spans.values())


@pytest.mark.parametrize("point", [(-1, 0), (0, -1), (640, 0), (0, 480)])
def test_a_point_outside_the_image_is_refused(point):
    with pytest.raises(ValueError, match=r"lies outside the image of 640 x 480"):
        point_window(point, (480, 640))


def test_a_side_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1 pixel, got 0"):
        point_window((0, 0), (4, 4), side=0)


def test_a_window_without_area_is_refused():
    with pytest.raises(ValueError, match="needs x0 < x1"):
        a_window(x1=0)


# The way in and back


@given(prompt=prompts(st.integers(1, 200)), side=st.integers(1, 96), border=borders, data=st.data())
def test_a_mask_seen_through_a_window_comes_back_pixel_for_pixel(prompt, side, border, data):
    shape, point = prompt
    mask = noise(shape, data.draw(st.integers(0, 9))) > 127
    window = point_window(point, shape, side=side, border=border)
    inside = paste(np.ones((96, 96), dtype=bool), window, shape)
    assert np.array_equal(paste(extract_mask(mask, window), window, shape), mask & inside)


@given(
    cells=arrays.arrays(np.bool_, (24, 24)),
    side=st.one_of(st.integers(24, 80), st.integers(1000, 3000)),
    at=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_a_mask_pasted_into_a_larger_window_is_read_back_cell_for_cell(cells, side, at):
    window = a_window(at[0], at[1], at[0] + side, at[1] + side)
    pasted = paste(cells, window, (side + 50, side + 50))
    assert np.array_equal(extract_mask(pasted, window, 24), cells)


@given(prompt=prompts(st.integers(1, 3000)), side=sides, border=borders)
def test_a_full_mask_covers_exactly_the_window_inside_the_image(prompt, side, border):
    shape, point = prompt
    window = point_window(point, shape, side=side, border=border)
    pasted = paste(np.ones((96, 96), dtype=bool), window, shape)
    wide = min(window.x1, shape[1]) - max(window.x0, 0)
    high = min(window.y1, shape[0]) - max(window.y0, 0)
    assert pasted.sum() == wide * high
    assert pasted[point[1], point[0]]


@given(prompt=prompts(), side=sides, border=borders, cell=st.tuples(st.floats(0, 96), st.floats(0, 96)))
def test_positions_map_there_and_back(prompt, side, border, cell):
    shape, point = prompt
    window = point_window(point, shape, side=side, border=border)
    assert window.to_cells(window.to_image(cell)) == pytest.approx(cell, abs=1e-6)


def test_a_window_off_the_image_pastes_nothing():
    assert not paste(np.ones((96, 96), dtype=bool), a_window(200, 200, 296, 296), (100, 100)).any()


def test_only_square_masks_are_pasted():
    with pytest.raises(ValueError, match=r"square, got shape \(96, 48\)"):
        paste(np.ones((96, 48), dtype=bool), a_window(), (100, 100))


# Pixels


def test_at_native_size_the_pixels_are_untouched():
    image = noise((120, 150, 3))
    assert np.array_equal(extract(image, a_window(10, 20, 106, 116)), image[20:116, 10:106])


@pytest.mark.parametrize(
    "span", [(0, 0, 58, 96), (0, 0, 300, 300), (3, 4, 5, 9), (1, 1, 130, 98), (0, 0, 1, 1), (0, 0, 630, 480)]
)
def test_resizing_agrees_with_pillow_within_one_grey_level(span):
    image = noise((480, 640, 3))
    wanted = np.asarray(Image.fromarray(image).crop(span).resize((96, 96), Image.Resampling.BILINEAR))
    found = extract(image, a_window(*span))
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.02
    mask = noise((480, 640)) > 127
    wanted_mask = np.asarray(Image.fromarray(mask).crop(span).resize((96, 96), Image.Resampling.NEAREST))
    assert np.array_equal(extract_mask(mask, a_window(*span)), wanted_mask)


def test_outside_the_image_is_black_and_never_object():
    white = np.full((50, 50, 3), 255, dtype=np.uint8)
    window = point_window((0, 0), (50, 50), border=Border.PAD)
    pixels, mask = extract(white, window), extract_mask(np.ones((50, 50), dtype=bool), window)
    assert pixels[:48].max() == 0
    assert pixels[:, :48].max() == 0
    assert pixels[48:, 48:].min() == 255
    assert np.array_equal(mask, pixels[:, :, 0] == 255)


@given(level=st.integers(0, 255), side=sides)
def test_a_flat_image_stays_flat_at_every_size(level, side):
    image = np.full((40, 60, 3), level, dtype=np.uint8)
    window = point_window((30, 20), (40, 60), side=side, border=Border.CLAMP)
    assert np.unique(extract(image, window)).tolist() == [level]


def test_grey_images_are_windows_too():
    image = noise((100, 100))
    assert extract(image, a_window(0, 0, 50, 50)).shape == (96, 96)


# Boxes and policies


def test_a_box_becomes_its_square_plus_ten_percent_per_side():
    window = box_window((100, 100, 200, 150), (480, 640))
    assert (window.x0, window.y0, window.x1, window.y1) == (90, 65, 210, 185)


@pytest.mark.parametrize(
    ("box", "wanted", "clipped"),
    [
        ((100.0, 100.0, 200.0, 150.0), (90, 65, 210, 185), False),
        ((10.5, 20.25, 110.75, 60.0), (0, 0, 120, 100), True),  # cut at the left and the top, not moved
        ((600.0, 400.0, 640.0, 480.0), (572, 392, 640, 480), True),
        ((0.0, 0.0, 640.0, 480.0), (0, 0, 640, 480), True),
        ((639.2, 5.1, 639.9, 5.2), (639, 4, 640, 5), False),  # that code would fail: no pixel is left after rounding
    ],
)
def test_the_authors_rule_cuts_a_box_s_square_at_every_edge_and_rounds_down(box, wanted, clipped):
    window = box_window(box, (480, 640), border=Border.AUTHORS)
    assert (window.x0, window.y0, window.x1, window.y1) == wanted
    assert window.clipped is clipped


@given(prompt=prompts(), size=st.tuples(st.floats(0.1, 3000), st.floats(0.1, 3000)), margin=st.floats(0, 1))
def test_an_authors_box_window_lies_in_the_image(prompt, size, margin):
    shape, (x, y) = prompt
    window = box_window((x, y, x + size[0], y + size[1]), shape, margin=margin, border=Border.AUTHORS)
    assert 0 <= window.x0 < window.x1 <= shape[1]
    assert 0 <= window.y0 < window.y1 <= shape[0]


@given(prompt=prompts(), size=st.tuples(st.floats(0.1, 3000), st.floats(0.1, 3000)), margin=st.floats(0, 1))
def test_a_padded_box_window_holds_the_visible_box(prompt, size, margin):
    shape, (x, y) = prompt
    window = box_window((x, y, x + size[0], y + size[1]), shape, margin=margin)
    x1, y1 = min(x + size[0], shape[1]), min(y + size[1], shape[0])
    # The window lies on whole pixels, so it may be off by less than one.
    assert window.x0 < x + 1
    assert window.y0 < y + 1
    assert window.x1 > x1 - 1
    assert window.y1 > y1 - 1
    assert window.width == window.height


@pytest.mark.parametrize("box", [(10, 10, 10, 20), (20, 20, 10, 30), (700, 0, 720, 20)])
def test_a_box_without_area_in_the_image_is_refused(box):
    with pytest.raises(ValueError, match="has no area inside the image of 640 x 480"):
        box_window(box, (480, 640))


@pytest.mark.parametrize("edge", range(4))
def test_a_box_with_nan_is_refused(edge):
    box = [10.0, 10.0, 50.0, 50.0]
    box[edge] = float("nan")
    with pytest.raises(ValueError, match="not made of numbers"):
        box_window(tuple(box), (480, 640))


def test_a_policy_decides_prompt_side_and_rule():
    shape = (480, 1280)
    assert window_for(WindowPolicy(), shape, point=(300, 300)).width == 96
    assert window_for(WindowPolicy(side=None), shape, point=(300, 300)).width == share_of_width(shape) == 192
    boxed = window_for(WindowPolicy(prompt="box", box_margin=0.0, border=Border.CLAMP), shape, box=(0, 0, 50, 50))
    assert (boxed.width, boxed.border) == (50, Border.CLAMP)


@pytest.mark.parametrize(("prompt", "missing"), [("point", "no point was given"), ("box", "no box was given")])
def test_a_policy_without_its_prompt_is_refused(prompt, missing):
    with pytest.raises(ValueError, match=missing):
        window_for(WindowPolicy(prompt=prompt), (480, 640))


# Points


def test_the_prompt_is_the_middle_of_the_masks_extent():
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:21, 30:50] = True
    assert prompt_point(mask) == (39, 15)


def test_the_prompt_of_a_hollow_mask_is_snapped_into_it():
    mask = np.ones((11, 11), dtype=bool)
    mask[2:9, 2:9] = False
    x, y = prompt_point(mask)
    assert mask[y, x]
    assert (x, y) == (5, 1)  # of four equally near pixels the first in reading order


def test_the_prompt_of_an_empty_mask_is_the_images_centre():
    assert prompt_point(np.zeros((60, 80), dtype=bool)) == (40, 30)


@given(
    mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))),
    x=st.integers(-3, 14),
    y=st.integers(-3, 14),
)
def test_snapping_finds_a_nearest_mask_pixel(mask, x, y):
    found = snap_point(mask, (x, y))
    rows, columns = np.nonzero(mask)
    if rows.size == 0:
        assert found == (x, y)
        return
    assert mask[found[1], found[0]]
    assert (found[0] - x) ** 2 + (found[1] - y) ** 2 == ((columns - x) ** 2 + (rows - y) ** 2).min()


def test_prompt_windows_need_no_torch_and_no_imaging_library():
    script = "import sys, shared.picosam.prompt; print(*sorted({'torch', 'cv2', 'PIL', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@given(prompt=prompts(st.integers(1, 300)), side=st.integers(1, 400), cell=st.tuples(st.integers(0, 95), st.integers(0, 95)))
def test_the_edges_of_a_cell_are_those_of_what_is_pasted_for_it(prompt, side, cell):
    shape, point = prompt
    window = point_window(point, shape, side=side)
    mask = np.zeros((96, 96), dtype=np.bool_)
    mask[cell] = True
    rows, columns = cell_edges(window, shape)
    filled = np.zeros(shape, dtype=np.bool_)
    filled[rows[cell[0]] : rows[cell[0] + 1], columns[cell[1]] : columns[cell[1] + 1]] = True
    assert (paste(mask, window, shape) == filled).all()


def test_pixels_come_back_from_the_network_s_input():
    windows = np.arange(2 * 8 * 8 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 8, 8, 3)
    assert (from_input(to_input(windows)) == windows).all()
    assert from_input(np.asarray([[[[-1.0]], [[0.5001]], [[2.0]]]], np.float32)).ravel().tolist() == [0, 128, 255]
