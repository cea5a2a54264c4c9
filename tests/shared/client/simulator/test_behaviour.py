"""What chance decides, and what is said."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.client.errors import Unusable
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.messages import MISCHIEF, feedback, sleep_s, words_of
from shared.contracts.ddi import Execution, Feedback, Finished

SHARES = st.floats(0, 1, allow_nan=False)


@given(seed=st.integers(), name=st.text(), action=st.text())
def test_a_draw_is_a_share_and_the_same_each_time(seed: int, name: str, action: str) -> None:
    drawn = Behaviour(seed=seed).draw(name, action)
    assert 0 <= drawn < 1
    assert Behaviour(seed=seed).draw(name, action) == drawn


@given(name=st.text(), action=st.text(), seed=st.integers())
def test_none_and_all_are_exact(name: str, action: str, seed: int) -> None:
    assert not Behaviour(seed=seed).fails("a/1", name, action)
    assert Behaviour(seed=seed, failure_rate=1).fails("a/1", name, action)
    assert Behaviour(seed=seed, broken=frozenset({"a/1"})).fails("a/1", name, action)
    assert not Behaviour(seed=seed, offline=0).is_offline(name)
    assert Behaviour(seed=seed, misbehave=1).misbehaves(name)


def test_shares_are_kept_over_many_cameras() -> None:
    behaviour = Behaviour(offline=0.1, failure_rate=0.3)
    names = [f"sim-{number}" for number in range(4000)]
    assert 320 < sum(behaviour.is_offline(name) for name in names) < 480
    assert 1080 < sum(behaviour.fails("a/1", name, "1") for name in names) < 1320


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure_rate": 1.1},
        {"offline": -0.1},
        {"misbehave": float("nan")},
        {"speed": 0},
        {"speed": float("inf")},
        {"poll_s": 0},
        {"telemetry_s": -1},
        {"install_s": -1},
        {"offline_polls": 0},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Unusable):
        Behaviour(**wrong)  # type: ignore[arg-type]


@given(hours=st.integers(0, 99), minutes=st.integers(0, 59), seconds=st.integers(1, 59))
def test_polling_sleeps_are_read(hours: int, minutes: int, seconds: int) -> None:
    assert sleep_s(f"{hours:02}:{minutes:02}:{seconds:02}") == hours * 3600 + minutes * 60 + seconds


@given(text=st.text())
def test_other_texts_are_no_sleep(text: str) -> None:
    found = sleep_s(text)
    assert found is None or found > 0
    assert sleep_s("00:00:00") is None


@given(body=st.binary())
def test_a_refusal_of_any_kind_has_words(body: bytes) -> None:
    assert len(words_of(body)) <= 300


def test_problems_are_told_by_their_detail() -> None:
    assert words_of(b'{"detail": "no such device", "title": "x"}') == "no such device"
    assert words_of(b"[" * 100_000)


@given(action=st.integers(1, 10**12), execution=st.sampled_from(Execution), finished=st.sampled_from(Finished))
def test_feedback_is_as_the_service_reads_it(action: int, execution: Execution, finished: Finished) -> None:
    read = Feedback.model_validate_json(feedback(str(action), execution, finished, state="verifying", details=["x"]))
    assert read.status.execution is execution
    assert read.status.result is not None
    assert (read.status.result.finished, read.status.details) == (finished, ["picofleet.state=verifying", "x"])


@pytest.mark.parametrize("number", range(len(MISCHIEF)))
def test_mischief_never_ends_the_action_that_it_is_told_beside(number: int) -> None:
    about, body = MISCHIEF[number]("17", feedback("17", Execution.DOWNLOAD))
    try:
        status = json.loads(body)["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    assert about != "17" or status["execution"] not in {"closed", "canceled", "rejected"}
