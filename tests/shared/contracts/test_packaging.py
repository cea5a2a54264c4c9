"""What a packaging may be asked for."""

import pytest
from pydantic import ValidationError

from shared.contracts.packaging import PackagingSpec

GOLDEN = {"dataset": {"dataset": "coco", "split": "val"}}


def a_spec(**changes):
    return PackagingSpec.model_validate({"model": "picosam2.imx500/1", "golden": GOLDEN} | changes)


@pytest.mark.parametrize(
    ("changes", "line", "name"),
    [
        ({}, "picosam2", "picosam2.package"),
        ({"model": "mine.imx500@champion"}, "mine", "mine.package"),
        ({"model": "other/3"}, "other", "other.package"),
        ({"line": "door"}, "door", "door.package"),
        ({"register_as": "kept"}, "picosam2", "kept"),
        ({"register_as": None}, "picosam2", None),
        ({"dry_run": True, "golden": None}, "picosam2", None),
    ],
)
def test_line_and_version_are_named_after_the_float_model(changes, line, name):
    spec = a_spec(**changes)
    assert (spec.line, spec.register_as) == (line, name)


def test_the_name_of_a_long_name_is_still_a_name():
    spec = a_spec(model=f"{'a' * 63}/1")
    assert len(spec.line) <= 63
    assert len(spec.register_as) <= 63


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"golden": None}, "golden is missing"),
        ({"dry_run": True, "register_as": "x"}, "a dry_run makes nothing"),
        ({"max_memory_utilization": 1.2}, "less than or equal to 1"),
        ({"input_format": "YUV"}, "'RGB' or 'BGR'"),
        ({"labels": []}, "at least 1 item"),
        ({"minimum_agent": "new"}, "match pattern"),
        ({"roi": {"sides": 1}}, "RoiPolicy has no field sides"),
        ({"converter": {"seconds": 0}}, "greater than or equal to 10"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        a_spec(**changes)
