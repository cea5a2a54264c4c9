"""Memory reports: real ones of the converter, and such as must not be believed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.harness.errors import JobFailed
from workers.packaging.memory_report import parse_memory_report, parse_size, read_memory_report

GOLDEN = Path(__file__).parent / "golden"
MIB = 1024**2


def changed(**fields: Any) -> str:
    """A real report with some fields set anew; None takes one out."""
    report = json.loads((GOLDEN / "fits.json").read_text())
    report["Memory Report"].update({name.replace("_", " "): value for name, value in fields.items()})
    report["Memory Report"] = {name: value for name, value in report["Memory Report"].items() if value is not None}
    return json.dumps(report)


def test_picosam2_takes_45_percent():
    report = parse_memory_report((GOLDEN / "fits.json").read_bytes())
    assert report.fits
    assert (report.used_bytes, report.available_bytes) == (round(3.55 * MIB), 8 * MIB)
    assert (report.runtime_bytes, report.model_bytes, report.reserved_bytes) == (round(2.29 * MIB), round(1.26 * MIB), 1024)
    assert report.utilization_percent == 45
    assert report.utilization == pytest.approx(0.444, abs=0.001)
    assert report.input_persistent
    assert report.networks[0].input_persistence_bytes == 31 * 1024


def test_a_network_that_is_too_large_does_not_fit():
    report = parse_memory_report((GOLDEN / "too_large.json").read_bytes())
    assert not report.fits
    assert report.utilization_percent == 161
    assert report.utilization > 1.6


def test_without_input_persistency_the_input_costs_nothing():
    with_it, without = (parse_memory_report((GOLDEN / f"{name}.json").read_bytes()) for name in ("small", "no_persistency"))
    assert not without.input_persistent
    assert without.networks[0].input_persistence_bytes == 0
    assert with_it.used_bytes - without.used_bytes == round(31.25 * 1024)


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("8388480B", 8388480), ("10.41KB", 10660), ("8.00MB", 8 * MIB), ("31KB", 31744), (7, 7)]
)
def test_sizes_are_read_in_every_unit(text, size):
    assert parse_size(text) == size


@given(st.text(max_size=12))
def test_what_is_no_size_is_refused(text):
    try:
        assert parse_size(text) >= 0
    except ValueError:
        return
    assert text[0].isascii()
    assert text.endswith("B")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"Fit_In_Chip": None}, "Fit In Chip"),
        ({"Fit_In_Chip": "yes"}, "Fit In Chip"),
        ({"Fit_In_Chip": False}, "in use"),
        ({"Memory_Usage": "9.00MB"}, "in use"),
        ({"Memory_Usage": "many"}, "no size"),
        ({"Memory_Usage": "-1B"}, "no size"),
        ({"Total_Memory_Available_On_Chip": "0B"}, "Available"),
        ({"Memory_Utilization": 45}, "no percentage"),
        ({"Networks": []}, "Networks"),
        ({"Input_Persistent": 1}, "Input Persistent"),
    ],
)
def test_a_report_that_cannot_be_believed_opens_no_gate(fields, words):
    with pytest.raises(JobFailed) as caught:
        parse_memory_report(changed(**fields))
    assert caught.value.error.type == "bad_memory_report"
    assert words in caught.value.error.message


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Memory Report": 3}', "\x00", '{"Memory Report": {}}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(JobFailed, match="cannot be used"):
        parse_memory_report(text)


@pytest.mark.parametrize("names", [[], ["a_MemoryReport.json", "b_MemoryReport.json"]])
def test_there_must_be_exactly_one_report(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text(changed())
    with pytest.raises(JobFailed, match=f"wrote {len(names)} memory reports"):
        read_memory_report(tmp_path)
