import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.picosam.data import polygons
from shared.picosam.data.polygons import checked_rings, doubtful_share
from shared.picosam.data.rle import MaskProblem

SHAPE = (100, 100)
coordinates = st.floats(0, 100, width=32)


def ring(*points):
    return np.array(points, dtype=np.float64)


def star(points=5, step=2):
    angles = np.arange(points) * step * 2 * np.pi / points
    return 50 + 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.mark.parametrize(
    ("outline", "share"),
    [
        (ring((0, 0), (10, 0), (10, 10), (0, 10)), 0.0),
        (ring((0, 0), (10, 10), (10, 0), (0, 10)), 0.5),
        (ring((0, 0), (10, 10), (20, 0), (20, 10), (10, 0), (0, 10)), None),
        (ring(*([(0, 0), (10, 0), (10, 10), (0, 10)] * 2)), 1.0),
        (ring((0, 0), (10, 0), (20, 0)), 1.0),
        (star(), 0.309),
    ],
)
def test_the_share_in_doubt(outline, share):
    if share is None:
        assert doubtful_share(outline) > 0.3
    else:
        assert doubtful_share(outline) == pytest.approx(share, abs=0.005)
        assert doubtful_share(outline[::-1]) == pytest.approx(share, abs=0.005)


@given(points=st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=12))
def test_a_ring_that_shapely_calls_valid_is_never_in_doubt(points):
    outline = ring(*points)
    assume(np.ptp(outline[:, 1]) > 1)
    polygon = shapely.Polygon(outline)
    assume(polygon.is_valid and polygon.area > 1)
    assert doubtful_share(outline) < polygons.MAX_DOUBTFUL_SHARE


def winding(outline, point):
    """How often the ring goes round the point."""
    turns = 0
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (y0 <= point.y) != (y1 <= point.y) and x0 + (point.y - y0) / (y1 - y0) * (x1 - x0) > point.x:
            turns += 1 if y1 > y0 else -1
    return turns


@given(points=st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=9))
def test_a_ring_whose_lobes_cancel_out_is_in_doubt(points):
    outline = ring(*points)
    assume(not shapely.Polygon(outline).is_valid)
    faces = shapely.get_parts(shapely.polygonize([shapely.node(shapely.LinearRing(outline))]))
    turns = [winding(outline, face.representative_point()) for face in faces]
    filled = sum(face.area for face, turn in zip(faces, turns, strict=True) if turn)
    assume(filled > 100)
    # The signed area counts lobes against each other; what is missing from the filled area is in doubt.
    lost = filled - abs(sum(turn * face.area for face, turn in zip(faces, turns, strict=True)))
    if lost > 0.1 * filled:
        assert doubtful_share(outline) > polygons.MAX_DOUBTFUL_SHARE


def test_touching_itself_in_a_point_is_worth_a_warning_only():
    two_squares = [10, 10, 50, 10, 50, 50, 90, 50, 90, 90, 50, 90, 50, 50, 10, 50]
    assert checked_rings([two_squares], SHAPE) == ("polygon_touches_itself",)


def test_a_sliver_as_in_real_outlines_is_worth_a_warning_only():
    crossing = [10, 10, 50, 10.001, 50, 10, 90, 10, 90, 90, 10, 90, 10, 50, 9.999, 50.001, 10.001, 50.002]
    assert checked_rings([crossing], SHAPE) == ("polygon_touches_itself",)


def test_one_bad_ring_spoils_the_object():
    with pytest.raises(MaskProblem, match=r"50\.0%"):
        checked_rings([[0, 0, 10, 0, 10, 10], [10, 10, 30, 30, 30, 10, 10, 30]], SHAPE)


def test_an_endless_ring_is_refused_before_it_costs_anything():
    with pytest.raises(MaskProblem, match="at most 20,000"):
        checked_rings([np.random.default_rng(0).uniform(0, 100, 60_000).tolist()], SHAPE)


def test_a_hostile_zigzag_is_judged_in_time():
    points = np.random.default_rng(0).uniform(0, 100, (polygons.MAX_POINTS, 2))
    assert doubtful_share(points) > 0.5
