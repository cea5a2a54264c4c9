import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.camera.roi import LEAST_SIDE, SENSOR, Roi, RoiGate, box_roi, point_roi
from shared.contracts.packages import RoiPolicy

POLICY = RoiPolicy()
HEIGHT, WIDTH = SENSOR
SIDE = 608  # 0.15 of 4056
points = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1))


def test_in_the_middle_the_region_is_the_packaged_share_of_the_width_round_the_prompt() -> None:
    assert point_roi((2028, 1520), POLICY) == Roi(2028 - 304, 1520 - 304, SIDE, SIDE)


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((100, 1520), Roi(0, 1420, 201, 201)),  # shrunk: the prompt stays in the middle
        ((WIDTH - 1 - 100, 1520), Roi(WIDTH - 202, 1419, 202, 202)),
        ((10, 1520), Roi(0, 1488, 64, 64)),  # at the least side, and moved
        ((0, 0), Roi(0, 0, 64, 64)),
        ((WIDTH - 1, HEIGHT - 1), Roi(WIDTH - 64, HEIGHT - 64, 64, 64)),
    ],
)
def test_at_a_border_it_shrinks_round_the_prompt_and_only_then_moves(point: tuple[int, int], expected: Roi) -> None:
    assert point_roi(point, POLICY) == expected


@given(point=points, share=st.floats(0.001, 1))
def test_a_region_is_square_on_the_sensor_and_holds_its_prompt(point: tuple[int, int], share: float) -> None:
    roi = point_roi(point, RoiPolicy(side_share=share))
    wanted = max(1, round(share * WIDTH))
    assert roi.width == roi.height
    assert min(wanted, LEAST_SIDE) <= roi.width <= wanted
    assert 0 <= roi.x <= point[0] < roi.x + roi.width <= WIDTH
    assert 0 <= roi.y <= point[1] < roi.y + roi.height <= HEIGHT


@given(first=points, second=points)
def test_a_boxs_region_is_square_and_on_the_sensor(first: tuple[int, int], second: tuple[int, int]) -> None:
    (ax, ay), (bx, by) = first, second
    roi = box_roi((min(ax, bx), min(ay, by), max(ax, bx) + 1, max(ay, by) + 1), POLICY)
    assert roi.width == roi.height >= 1
    assert 0 <= roi.x <= roi.x + roi.width <= WIDTH
    assert 0 <= roi.y <= roi.y + roi.height <= HEIGHT


def test_a_box_has_its_margin() -> None:
    assert box_roi((1000, 1000, 1200, 1100), POLICY).width == 240


def test_after_a_move_frames_are_dropped_until_they_show_the_new_region() -> None:
    told: list[Roi] = []
    gate = RoiGate(told.append, 3)
    first, second = Roi(0, 0, 64, 64), Roi(64, 0, 64, 64)
    gate.move(first)
    assert [gate.shown() for _ in range(5)] == [None, None, None, first, first]
    gate.move(first)
    assert gate.shown() == first
    gate.move(second)
    assert [gate.shown() for _ in range(4)] == [None, None, None, second]
    assert told == [first, second]
