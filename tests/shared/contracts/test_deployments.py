"""Targets of deployments are told apart, and a fleet's becomes a rollout."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.contracts.deployments import CpuTarget, DeploymentIn, FleetTarget
from shared.contracts.rollouts import RolloutIn

SPEC: TypeAdapter[DeploymentIn] = TypeAdapter(DeploymentIn)
FLEET = {"target": "fleet:berlin", "package": "picosam2/3"}


def test_what_names_no_target_is_for_cpus() -> None:
    assert isinstance(SPEC.validate_python({"versions": [{"model": "picosam2/1"}]}), CpuTarget)
    assert isinstance(SPEC.validate_python(FLEET), FleetTarget)


def test_a_specification_survives_its_way_over_the_wire() -> None:
    spec = SPEC.validate_python(FLEET | {"phases": [{"count": 5}, {"percent": 100}], "rate": {"per_minute": 7}})
    assert SPEC.validate_json(spec.model_dump_json()) == spec


def test_a_rollout_is_a_draft_for_the_group_with_all_that_was_wished() -> None:
    spec = FleetTarget.model_validate(
        FLEET | {"phases": [{"count": 5}], "on_failure": "abort", "deadline_s": 60, "priority": 9}
    )
    made = spec.rollout("gate-1")
    assert (made.group, made.package, made.start, made.approval) == ("berlin", "picosam2/3", False, False)
    assert (made.phases, made.on_failure, made.deadline_s, made.priority) == (spec.phases, "abort", 60, 9)


def test_what_nobody_wishes_is_as_in_a_rollout() -> None:
    made = FleetTarget.model_validate(FLEET).rollout("gate")
    assert made == RolloutIn(name="gate", group="berlin", package="picosam2/3")


@pytest.mark.parametrize(
    "change",
    [
        {"target": "fleet:"},
        {"target": "fleet:Not A Name"},
        {"target": "moon"},
        {"target": ["fleet:berlin"]},
        {"package": "picosam2"},
        {"phases": []},
        {"phases": [{"percent": 50}, {"percent": 10}]},
        {"phases": [{"percent": 50}, {"count": 10}]},
        {"versions": [{"model": "picosam2/1"}]},
        {"deadline_s": -1},
        {"approval": True},
    ],
)
def test_specifications_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SPEC.validate_python(FLEET | change)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
    )
)
def test_whatever_is_sent_is_refused_and_never_a_crash(value: Any) -> None:
    for spec in (value, {"target": value}):
        with pytest.raises(ValidationError):
            SPEC.validate_python(spec)
