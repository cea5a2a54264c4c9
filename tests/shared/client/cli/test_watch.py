import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from shared.client.cli import watch
from shared.client.cli.watch import LiveView, PlainView, clock, note, show
from shared.contracts.jobs import EventType, JobEvent, Progress


def an_event(kind: EventType, **payload: Any) -> JobEvent:
    return JobEvent(seq=1, type=kind, at=datetime.now(UTC), payload=payload)


def a_train_step(done: int, **changes: Any) -> JobEvent:
    metrics = {"loss": 0.5, "miou_96_pad": 0.25}
    return an_event(
        EventType.PROGRESS,
        **({"phase": "train", "done": done, "total": 100, "rate": 52.13, "eta_s": 61, "metrics": metrics} | changes),
    )


@pytest.fixture
def plain() -> tuple[PlainView, io.StringIO]:
    written = io.StringIO()
    return PlainView(Console(file=written, width=400)), written


def test_lines_tell_phase_position_speed_and_figures(plain: tuple[PlainView, io.StringIO]) -> None:
    show(plain[0], a_train_step(7), logs=True)
    assert "train 7/100 steps  52.1 images/s  ETA 1:01  loss 0.500  miou_96_pad 0.250" in plain[1].getvalue()


def test_several_batches_are_spelt_so(plain: tuple[PlainView, io.StringIO]) -> None:
    plain[0].progress(Progress(phase="calibrate", done=2, total=10, unit="batch"))
    assert "calibrate 2/10 batches" in plain[1].getvalue()


def test_a_phase_does_not_flood_the_log(plain: tuple[PlainView, io.StringIO]) -> None:
    for done in range(1, 101):
        show(plain[0], a_train_step(done), logs=True)
    lines = plain[1].getvalue().splitlines()
    assert len(lines) == 2, "the first and the last"
    assert "100/100" in lines[-1]


def test_a_new_phase_and_a_passed_interval_are_told(
    plain: tuple[PlainView, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    show(plain[0], a_train_step(1), logs=True)
    show(plain[0], a_train_step(1, phase="evaluate", unit="window"), logs=True)
    now = watch.time.monotonic()
    monkeypatch.setattr(watch.time, "monotonic", lambda: now + watch.PLAIN_EVERY_S)
    show(plain[0], a_train_step(2, phase="evaluate", unit="window"), logs=True)
    assert plain[1].getvalue().count("evaluate") == 2


def test_states_tell_why(plain: tuple[PlainView, io.StringIO]) -> None:
    error = {"type": "diverged", "message": "The loss is NaN [x]", "hint": "h"}
    show(plain[0], an_event(EventType.STATE, state="failed", attempt=1, error=error), logs=True)
    assert "failed: The loss is NaN [x]" in plain[1].getvalue()


def test_log_lines_can_be_left_out(plain: tuple[PlainView, io.StringIO]) -> None:
    line = an_event(EventType.LOG, level="warning", message="odd [/bold] text")
    show(plain[0], line, logs=False)
    assert plain[1].getvalue() == ""
    show(plain[0], line, logs=True)
    assert "warning: odd [/bold] text" in plain[1].getvalue()


def test_bars_are_drawn_one_per_phase() -> None:
    written = io.StringIO()
    console = Console(file=written, width=160, force_terminal=True, highlight=False)
    with Bars(console=console) as bars:
        view = LiveView(bars)
        show(view, a_train_step(40), logs=True)
        show(view, a_train_step(3, phase="evaluate"), logs=True)
        show(view, an_event(EventType.LOG, level="error", message="[red] is no colour here"), logs=True)
        show(view, an_event(EventType.STATE, state="lost", attempt=1), logs=True)
        show(view, a_train_step(80), logs=True)
        assert [(task.description, task.completed) for task in bars.tasks] == [("train", 80), ("evaluate", 3)]
        show(view, an_event(EventType.STATE, state="succeeded", attempt=2), logs=True)
        assert [task.completed for task in bars.tasks] == [100, 100]
    assert "[red] is no colour here" in written.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01"), (-5, "0:00")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_phase_without_speed_has_an_empty_note() -> None:
    assert note(Progress(phase="fetch", done=0)) == ""
