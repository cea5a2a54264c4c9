"""Which version answers."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engine.desk import Desk
from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady, Part, Served, Table
from shared.contracts.deployments import CpuTarget

REQUESTS = 2000
KEYS = [f"camera-{number}" for number in range(500)]


@pytest.fixture(scope="module")
def desk():
    made = Desk("test", parallel=1, max_queue=1)
    yield made
    made.close()


def split(desk, *percents, name="default"):
    """A deployment with parts of these percents; the versions are m/0, m/1, ..."""
    versions = [{"model": f"m/{number + 1}", "percent": percent} for number, percent in enumerate(percents)]
    parts = tuple(Part(SimpleNamespace(model=str(number)), percent) for number, percent in enumerate(percents))
    return Served(name=name, generation=1, spec=CpuTarget.model_validate({"versions": versions}), parts=parts, desk=desk)


@st.composite
def shares(draw):
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=0, max_size=7)))
    return [after - before for before, after in zip([0, *cuts], [*cuts, 100], strict=True)]


@given(shares(), st.integers(0, 5000))
def test_shares_are_met_within_half_a_point_whenever_one_begins_to_count(desk, percents, passed):
    served = split(desk, *percents)
    for _ in range(passed):
        served.choose(None)
    counted = Counter(served.choose(None).model for _ in range(REQUESTS))
    for number, percent in enumerate(percents):
        assert abs(100 * counted[str(number)] / REQUESTS - percent) <= 0.5


@given(shares(), st.text(min_size=1, max_size=40))
def test_the_same_key_gets_the_same_version_on_every_replica(desk, percents, key):
    chosen = {split(desk, *percents).choose(key).model for _ in range(3)}
    assert len(chosen) == 1
    assert percents[int(chosen.pop())] > 0


@given(st.integers(0, 100), st.integers(0, 100))
def test_a_part_that_grows_keeps_the_keys_it_has(desk, one, other):
    small, large = sorted((one, other))
    before, after = split(desk, small, 100 - small), split(desk, large, 100 - large)
    kept = [key for key in KEYS if before.choose(key).model == "0"]
    assert all(after.choose(key).model == "0" for key in kept)


def test_keys_are_spread_by_the_shares_and_otherwise_in_each_deployment(desk):
    served, other = split(desk, 30, 70), split(desk, 30, 70, name="other")
    first = {key for key in KEYS if served.choose(key).model == "0"}
    assert 0.2 < len(first) / len(KEYS) < 0.4
    assert first != {key for key in KEYS if other.choose(key).model == "0"}


def test_the_table_says_what_is_served_what_is_coming_and_what_is_not_there(desk):
    table = Table()
    with pytest.raises(DeploymentNotFound):
        table.get("default")
    table.note("default", "it is being loaded.")
    with pytest.raises(DeploymentNotReady, match="being loaded"):
        table.get("default")
    table.put(served := split(desk, 100))
    assert table.get("default") is served
    assert table.failing() == {}
    table.drop("default")
    with pytest.raises(DeploymentNotFound):
        table.get("default")
