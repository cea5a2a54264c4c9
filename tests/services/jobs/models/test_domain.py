"""Names of aliases and versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.jobs.models.domain import Reference, is_alias, retry_after

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
ALIASES = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)


@given(NAMES, st.integers(1, 10**9 - 1))
def test_a_version_is_named_by_its_number(name, version):
    assert Reference.parse(f"{name}/{version}") == Reference(name, version, None)


@given(NAMES, ALIASES)
def test_a_version_is_named_by_an_alias(name, alias):
    assert Reference.parse(f"{name}@{alias}") == Reference(name, None, alias)


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_refused(text):
    try:
        found = Reference.parse(text)
    except ValueError:
        found = None
    if found is not None:
        assert text in (f"{found.name}/{found.version}", f"{found.name}@{found.alias}")


@pytest.mark.parametrize(
    "text", ["", "m", "m/", "m/0", "m/01", "m/-1", "m@", "M/1", "m/1/2", "m@a/1", "m@a@b", "m/1\n", "m'/1", "/1"]
)
def test_what_names_no_version(text):
    with pytest.raises(ValueError, match="names no model version"):
        Reference.parse(text)


@given(ALIASES)
def test_an_alias_is_never_what_mlflow_keeps_for_itself(alias):
    reserved = alias == "latest" or (alias[0] == "v" and alias[1:].isdigit())
    assert is_alias(alias) is not reserved


@given(st.integers(0, 10**6))
def test_waiting_times_grow_and_are_bounded(attempts):
    assert 1 <= retry_after(attempts).total_seconds() <= retry_after(attempts + 1).total_seconds() <= 60
