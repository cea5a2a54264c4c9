"""What a memory report lets pass."""

from pathlib import Path

import pytest

from workers.harness.errors import JobFailed
from workers.packaging.converter import check_memory
from workers.packaging.memory_report import MemoryReport, parse_memory_report

SHAPE = (1, 3, 96, 96)


def report(name: str) -> MemoryReport:
    return parse_memory_report((Path(__file__).parent / "golden" / f"{name}.json").read_bytes())


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
