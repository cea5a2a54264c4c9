import json
import re
from pathlib import Path
from random import Random

import numpy as np
import pytest

from services.camera.backoff import Backoff
from services.camera.driver import Frame
from services.camera.figures import Figures, Span
from services.camera.roi import Roi
from services.camera.settings import CameraSettings
from services.camera.state import State
from services.camera.telling import telemetry
from shared.contracts.cameras import Telemetry
from tests.services.camera.conftest import some_settings

ROOT = Path(__file__).parents[3]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def a_frame(*, answered: bool = True) -> Frame:
    output = np.array([[1.0, -1.0], [-1.0, -1.0]], np.float32) if answered else None
    return Frame(roi=Roi(0, 0, 64, 64), output=output, network="pico", dnn_ms=14.0, dsp_ms=2.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def figures(clock: Clock) -> Figures:
    return Figures(clock)


def stream(figures: Figures, clock: Clock, frames: int, *, pause_s: float = 0.1) -> None:
    for _ in range(frames):
        clock.now += pause_s
        figures.count(a_frame())


def test_frames_and_times_add_up(figures: Figures, clock: Clock) -> None:
    stream(figures, clock, 10)
    span = figures.take()
    assert (span.frames, span.missing, span.timed) == (10, 0, 10)
    assert span.span_s == pytest.approx(1.0)
    assert (span.dnn_ms, span.dsp_ms, span.mask_area) == (140.0, 20.0, 2.5)
    assert figures.take().frames == 0


def test_gaps_and_frames_without_an_answer_are_missing(figures: Figures, clock: Clock) -> None:
    stream(figures, clock, 10)
    clock.now += 0.4  # and the next comes after 0.5: four did not come
    stream(figures, clock, 1)
    figures.count(a_frame(answered=False))
    assert figures.take().missing == 5


def test_a_slowly_changing_rate_is_no_loss(figures: Figures, clock: Clock) -> None:
    pause = 0.033
    for _ in range(400):
        pause *= 1.005
        stream(figures, clock, 1, pause_s=pause)
    assert figures.take().missing == 0


def test_a_moved_region_and_a_new_stream_are_no_loss(figures: Figures, clock: Clock) -> None:
    stream(figures, clock, 10)
    figures.moved()
    clock.now += 0.5
    stream(figures, clock, 5)
    figures.new_stream()
    clock.now += 100
    stream(figures, clock, 5)
    assert figures.take().missing == 0


def test_a_silence_counts_by_the_usual_pause(figures: Figures, clock: Clock) -> None:
    stream(figures, clock, 10)
    figures.silence(20)
    assert figures.take().missing == 200


def test_a_week_of_figures_is_still_a_message() -> None:
    span = Span(span_s=7 * 86_400, frames=10**9, missing=10**9, dnn_ms=1e10, dsp_ms=1e9, timed=10**9, mask_area=1e8)
    told = telemetry(span, State(starts=10**7), "picosam2/7", 41.0, "2026-07-01T00:00:00+00:00")
    assert Telemetry.model_validate_json(json.dumps(told)).span_s == 86_400
    empty = telemetry(Span(), State(), None, None, "2026-07-01T00:00:00+00:00")
    assert Telemetry.model_validate_json(json.dumps(empty)).package is None


def test_pauses_grow_are_bounded_and_differ() -> None:
    one, other = (Backoff(Random(seed)) for seed in (1, 2))
    pauses = [one.failed() for _ in range(30)]
    assert all(pause <= min(300, 2 * 2**number) for number, pause in enumerate(pauses))
    assert max(pauses) > 150
    assert pauses != [other.failed() for _ in range(30)]
    one.succeeded()
    assert one.failed() <= 2
    assert one.failed(at_least_s=1e9) <= 4000


def test_the_page_names_every_setting(tmp_path: Path) -> None:
    assert some_settings(tmp_path, tmp_path).folder == tmp_path
    table = (ROOT / "docs" / "camera.md").read_text().partition("## Settings")[2].partition("## ")[0]
    named = {name.lower() for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", table)}
    assert named == set(CameraSettings.model_fields)
