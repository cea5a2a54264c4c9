"""The converter's log, on lines that it really wrote (version 3.19.2)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.jobs import Progress
from workers.packaging.conversion_log import STAGES, Listener, LogLine, parse_line

GOLDEN = Path(__file__).parent / "golden"


def heard(name: str, *, report_only: bool = False) -> tuple[Listener, list[Progress]]:
    """What a listener makes of a recorded log, and the progress that it told meanwhile."""
    told: list[Progress] = []
    listener = Listener(on_stage=told.append, on_message=lambda _: None, report_only=report_only)
    for line in (GOLDEN / f"{name}.log").read_text().splitlines():
        listener.hear(line)
    return listener, told


def test_a_conversion_goes_through_all_stages():
    listener, told = heard("converted")
    listener.finished()
    assert [(step.phase, step.done, step.total) for step in told] == [
        *((stage, number, 5) for number, stage in enumerate(STAGES)),
        ("pack", 5, 5),
    ]
    assert listener.errors == []


def test_a_memory_report_ends_after_two_stages():
    listener, told = heard("report", report_only=True)
    listener.finished()
    assert [(step.phase, step.done, step.total) for step in told] == [("read", 0, 2), ("schedule", 1, 2), ("schedule", 2, 2)]


def test_an_unsupported_operator_is_an_error_with_a_code():
    listener, _ = heard("unsupported")
    assert listener.error("USOP") == LogLine("error", "uni-pytorch", "USOP", "The network contains unsupported ops: CumSum")
    assert listener.reason == "The network contains unsupported ops: CumSum"


def test_the_repeated_code_is_no_part_of_the_message():
    listener, _ = heard("too_large")
    error = listener.error("ISM")
    assert error is not None
    assert error.message == "ConvFe error (ISM) on 'wide': Not enough memory, available: 8.00MB , required: 12.85MB"
    assert listener.stage == "schedule"


def test_stack_traces_are_kept_beside_the_log():
    listener, _ = heard("too_large")
    assert listener.tail[0].startswith('Exception in thread "main" sdsp.app.logging.FailureInSubRunningHideErrorException')
    assert listener.mentions("TilingAdvisorPhase")
    assert not listener.mentions("OutOfMemoryError")


def test_a_float_network_is_an_error_that_does_not_say_what_is_wrong():
    listener, _ = heard("float")
    assert listener.error("GE") is not None
    assert "List is empty" in listener.reason


def test_an_error_that_a_program_within_printed_is_found():
    listener, _ = heard("out_of_memory")
    assert listener.mentions("OutOfMemoryError")
    assert "OutOfMemoryError" in listener.reason or "Exception" in listener.reason
    assert "uni files" not in listener.reason


def test_without_an_error_the_reason_is_what_looks_like_one():
    listener = Listener(on_stage=lambda _: None, on_message=lambda _: None, report_only=False)
    assert listener.reason == ""
    for text in (
        "Picked up JAVA_TOOL_OPTIONS: -Xmx1m",
        "",
        "java.lang.OutOfMemoryError: Java heap space",
        "\tat Main.main(Main.kt:1)",
    ):
        listener.hear(text)
    assert listener.reason == "java.lang.OutOfMemoryError: Java heap space"


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '{"message": 3}', "Exception in thread", '{"log.level": "INFO"}'])
def test_whatever_is_no_log_line_is_none(text):
    assert parse_line(text) is None


def test_fields_of_other_types_do_not_disturb():
    line = parse_line(json.dumps({"message": "x", "log.level": 3, "message.code": None, "component.type": ["a"]}))
    assert line == LogLine("info", "", None, "x")


@given(
    st.text()
    | st.dictionaries(st.sampled_from(["message", "log.level", "message.code"]), st.text() | st.none()).map(json.dumps)
)
def test_nothing_that_it_may_print_breaks_the_listener(text):
    listener = Listener(on_stage=lambda _: None, on_message=lambda _: None, report_only=False)
    listener.hear(text)
    assert listener.stage == "read"
    assert len(listener.reason) <= 4000


def test_a_flood_of_errors_is_not_kept_whole():
    listener = Listener(on_stage=lambda _: None, on_message=lambda _: None, report_only=False)
    for number in range(1000):
        listener.hear(json.dumps({"message": f"error {number}", "log.level": "ERROR"}))
        listener.hear(f"line {number}")
    assert len(listener.errors) < 100
    assert len(listener.tail) < 1000
    assert listener.tail[-1] == "line 999"
