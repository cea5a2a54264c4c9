"""What a memory report lets pass."""

import shutil
from pathlib import Path

import pytest

from workers.harness.errors import JobFailed
from workers.packaging.converter import check_memory, too_large
from workers.packaging.memory_report import MemoryReport, parse_memory_report

GOLDEN = Path(__file__).parent / "golden"
SHAPE = (1, 3, 96, 96)


def report(name: str) -> MemoryReport:
    return parse_memory_report((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("limit", [1.0, 0.4438])
def test_what_fits_and_stays_below_the_limit_passes(limit):
    check_memory(report("fits"), limit, SHAPE)


def test_what_is_above_the_limit_is_refused_with_its_share():
    with pytest.raises(
        JobFailed, match=r"takes 44\.4% of the sensor's memory \(3\.55 MB\); max_memory_utilization is 0\.44"
    ) as caught:
        check_memory(report("fits"), 0.44, SHAPE)
    assert caught.value.error.type == "memory_limit_exceeded"


def test_what_does_not_fit_is_refused_whatever_the_limit():
    with pytest.raises(JobFailed, match=r"needs 12\.85 MB") as caught:
        check_memory(report("too_large"), 2.0, SHAPE)
    assert caught.value.error.type == "does_not_fit"


@pytest.mark.parametrize(("found", "figure"), [(None, "13.00 MB"), ("too_large", "12.85 MB"), ("fits", "13.00 MB")])
def test_the_figures_are_the_reports_unless_it_says_that_the_network_fits(tmp_path, found, figure):
    if found:
        shutil.copyfile(GOLDEN / f"{found}.json", tmp_path / "network_MemoryReport.json")
    failed = too_large("Not enough memory, available: 8.00MB , required: 13.00MB", tmp_path, SHAPE)
    assert failed.error.type == "does_not_fit"
    assert f"needs {figure}" in failed.error.message


def test_without_any_figures_the_converter_is_quoted(tmp_path):
    failed = too_large("Not enough memory", tmp_path, SHAPE)
    assert failed.error.type == "converter_crashed"
    assert "Not enough memory" in failed.error.message
