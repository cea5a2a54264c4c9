"""What a rollout does next: the rules, and that nothing gets round them."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.actions.domain import ALLOWED, UNDER_WAY
from services.fleet.rollouts.domain import (
    BeginSoak,
    EndPhase,
    Finish,
    Hold,
    LeaveSoak,
    LetIn,
    Phase,
    Snapshot,
    StartPhase,
    Stop,
    WaitForApproval,
    decide,
)
from services.fleet.rollouts.sizing import sizes
from shared.contracts.rollouts import ActionState as S
from shared.contracts.rollouts import OnFailure, PhaseIn, PhaseState, RolloutState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDED = (S.RUNNING, S.FAILED, S.EXPIRED, S.CANCELLED, S.SUPERSEDED)


def a_phase(number=1, state=PhaseState.RUNNING, *, spec=None, **counts):
    special = {name: counts.pop(name) for name in [*counts] if name in Phase.__dataclass_fields__}
    tallies = {S(name): count for name, count in counts.items()}
    return Phase(number=number, spec=PhaseIn(**({"percent": 100} | (spec or {}))), state=state, counts=tallies, **special)


def of(*phases, on_failure=OnFailure.ROLL_BACK, state=RolloutState.RUNNING, now=NOW):
    return decide(Snapshot(state=state, on_failure=on_failure, phases=phases, now=now))


def test_a_phase_begins_and_its_cameras_are_let_in():
    assert of(a_phase(state=PhaseState.WAITING, pending=3, turn_to_come=3)) == [StartPhase(1)]
    assert of(a_phase(pending=3, turn_to_come=3)) == [LetIn(1)]
    assert of(a_phase(pending=3)) == []


def test_a_phase_that_needs_approval_waits_for_it_once():
    spec = {"approval": True}
    assert of(a_phase(state=PhaseState.WAITING, spec=spec, pending=1)) == [WaitForApproval(1)]
    assert of(a_phase(state=PhaseState.WAITING_FOR_APPROVAL, spec=spec, pending=1)) == []
    assert of(a_phase(state=PhaseState.WAITING_FOR_APPROVAL, spec=spec, pending=1, approved=True)) == [StartPhase(1)]


def test_a_phase_soaks_once_enough_run_the_package_and_ends_when_it_has_soaked():
    spec = {"success_percent": 90, "soak_s": 60}
    assert of(a_phase(spec=spec, running=8, offered=2)) == []
    assert of(a_phase(spec=spec, running=9, offered=1)) == [BeginSoak(1)]
    soaking = a_phase(state=PhaseState.SOAKING, spec=spec, running=9, offered=1, soaking_since=NOW)
    assert of(soaking, now=NOW + timedelta(seconds=59)) == []
    assert of(soaking, now=NOW + timedelta(seconds=60)) == [EndPhase(1)]


def test_a_phase_whose_cameras_fall_ill_soaks_no_more():
    spec = {"success_percent": 90, "failure_percent": 50}
    assert of(a_phase(state=PhaseState.SOAKING, spec=spec, running=8, failed=2, soaking_since=NOW)) == [LeaveSoak(1)]


def test_the_first_failure_stops_where_none_is_allowed():
    assert of(a_phase(spec={"failure_percent": 0}, running=999, failed=1, offered=1)) == [
        Stop(OnFailure.ROLL_BACK, 1, "phase 1: 1 of 1000 cameras failed, limit 0 %")
    ]


def test_a_share_at_its_limit_is_not_above_it():
    spec = {"failure_percent": 29, "success_percent": 0, "soak_s": 0}
    assert of(a_phase(spec=spec, running=71, failed=29)) == [BeginSoak(1)]
    assert isinstance(of(a_phase(spec=spec, running=70, failed=30))[0], Stop)


def test_failures_are_looked_at_from_a_minimum_on_but_at_the_latest_when_all_have_failed():
    spec = {"failure_percent": 10, "failure_min": 5}
    assert of(a_phase(spec=spec, failed=4, offered=2)) == []
    assert isinstance(of(a_phase(spec=spec, failed=5, offered=1))[0], Stop)
    assert isinstance(of(a_phase(spec=spec, failed=2))[0], Stop)


def test_stragglers_of_a_phase_that_is_done_count_too():
    done = a_phase(1, PhaseState.DONE, failed=2, running=8, spec={"failure_percent": 10})
    (stop,) = of(done, a_phase(2, offered=5), on_failure=OnFailure.PAUSE)
    assert (stop.how, stop.number) == (OnFailure.PAUSE, 1)


def test_what_a_person_accepted_does_not_stop_it_again_but_one_failure_more_does():
    spec = {"failure_percent": 10, "soak_s": 0}
    assert of(a_phase(spec=spec, failed=3, running=7, accepted=3)) == [BeginSoak(1)]
    assert isinstance(of(a_phase(spec=spec, failed=4, running=6, accepted=3))[0], Stop)


def test_a_share_that_cannot_be_met_any_more_stops_it():
    (stop,) = of(a_phase(spec={"success_percent": 95, "failure_percent": 50}, running=9, failed=1))
    assert stop.reason == "phase 1: 9 of 10 cameras run the package, 95 % must, and none is left"


def test_cameras_that_are_gone_are_not_waited_for():
    assert of(a_phase(running=9, expired=1, superseded=2)) == [BeginSoak(1)]
    assert of(a_phase(1, PhaseState.DONE, running=1, settled=True), a_phase(2, expired=3)) == [BeginSoak(2)]


def test_the_next_phase_does_not_begin_where_no_camera_could_be_reached():
    unreached, later = a_phase(expired=3), a_phase(2, PhaseState.WAITING, pending=9, turn_to_come=9)
    (stop,) = of(unreached, later, on_failure=OnFailure.ROLL_BACK)
    assert stop.how is OnFailure.PAUSE
    assert "could be reached" in stop.reason
    assert of(a_phase(expired=3, accepted=0), later) == [BeginSoak(1)]


def test_sampled_masks_hold_a_phase_until_there_are_enough_and_stop_it_where_they_differ():
    spec = {"soak_s": 0, "quality": {"min_agreement": 0.9, "min_samples": 20}}
    common = {"state": PhaseState.SOAKING, "spec": spec, "running": 5, "soaking_since": NOW}
    assert of(a_phase(**common, samples=19, agreement=0.99)) == [Hold("phase 1: 19 of 20 sampled masks are compared")]
    assert of(a_phase(**common, samples=20, agreement=0.9)) == [EndPhase(1)]
    (stop,) = of(a_phase(**common, samples=20, agreement=0.85, accepted=3))
    assert stop.reason == "phase 1: masks agree with the reference model by 0.850, at least 0.9 is asked"
    assert of(a_phase(**common, samples=20, agreement=0.85, masks_accepted=True)) == [EndPhase(1)]


def test_it_is_finished_when_all_phases_are_done_and_every_camera_had_its_turn():
    assert of(a_phase(1, PhaseState.DONE, running=5, pending=1, turn_to_come=1, settled=True)) == [LetIn(1)]
    assert of(a_phase(1, PhaseState.DONE, running=5)) == []
    assert of(a_phase(1, PhaseState.DONE, running=5, offered=1, settled=True)) == [Finish()]


@pytest.mark.parametrize("state", [state for state in RolloutState if state is not RolloutState.RUNNING])
def test_nothing_happens_unless_it_runs(state):
    assert of(a_phase(failed=9, pending=9, turn_to_come=9), state=state) == []


def test_a_count_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="turn_to_come"):
        a_phase(pending=1, turn_to_come=2)


@given(
    failed=st.integers(0, 3000),
    succeeded=st.integers(0, 3000),
    others=st.integers(0, 3000),
    limit=st.integers(0, 100),
    least=st.integers(1, 4000),
)
def test_a_threshold_is_passed_exactly_when_the_share_is_above_it(failed, succeeded, others, limit, least):
    phase = a_phase(spec={"failure_percent": limit, "failure_min": least}, failed=failed, running=succeeded, offered=others)
    enough = failed >= 1 and failed >= min(least, failed + succeeded + others)
    above = failed > 0 and Fraction(failed, failed + succeeded) > Fraction(limit, 100)
    assert phase.has_failed() is (enough and above)


@given(running=st.integers(0, 3000), others=st.integers(0, 3000), gone=st.integers(0, 300), share=st.integers(0, 100))
def test_a_phase_is_met_exactly_when_the_share_of_those_that_count_is(running, others, gone, share):
    phase = a_phase(spec={"success_percent": share}, running=running, offered=others, expired=gone)
    counted = running + others
    assert phase.is_met() is (counted == 0 or Fraction(running, counted) >= Fraction(share, 100))


# A whole rollout, without a database: every order in which devices may answer.


@dataclass
class Model:
    """Plays the engine: it does what ``decide`` says, and keeps what must always hold."""

    phases: list[PhaseIn]
    on_failure: OnFailure
    cameras: int
    state: RolloutState = RolloutState.RUNNING
    states: list[PhaseState] = field(default_factory=list)
    since: dict[int, datetime] = field(default_factory=dict)
    now: datetime = NOW
    offered: Counter = field(default_factory=Counter)

    def __post_init__(self):
        self.states = [PhaseState.WAITING] * len(self.phases)
        ends = sizes(self.phases, self.cameras)
        numbers = [
            number for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False), 1) for _ in range(start, end)
        ]
        self.place = numbers
        self.at = [S.PENDING] * len(numbers)
        self.let = [False] * len(numbers)

    def snapshot(self):
        phases = []
        for number, spec in enumerate(self.phases, 1):
            mine = [index for index, place in enumerate(self.place) if place == number]
            phases.append(
                Phase(
                    number=number,
                    spec=spec,
                    state=self.states[number - 1],
                    counts=Counter(self.at[index] for index in mine),
                    turn_to_come=sum(self.at[index] is S.PENDING and not self.let[index] for index in mine),
                    approved=True,
                    soaking_since=self.since.get(number),
                    settled=True,
                )
            )
        return Snapshot(state=self.state, on_failure=self.on_failure, phases=phases, now=self.now)

    def tick(self):
        """One; what was decided."""
        decisions = decide(self.snapshot())
        for decision in decisions:
            match decision:
                case StartPhase(number):
                    self.states[number - 1] = PhaseState.RUNNING
                case BeginSoak(number):
                    self.states[number - 1], self.since[number] = PhaseState.SOAKING, self.now
                case LeaveSoak(number):
                    self.states[number - 1] = PhaseState.RUNNING
                case EndPhase(number):
                    self.states[number - 1] = PhaseState.DONE
                case LetIn(number):
                    for index, place in enumerate(self.place):
                        if place <= number and self.at[index] is S.PENDING:
                            self.offered[index] += not self.let[index]
                            self.let[index] = True
                case Stop(how):
                    self.state = {
                        OnFailure.PAUSE: RolloutState.PAUSED,
                        OnFailure.ABORT: RolloutState.ABORTED,
                        OnFailure.ROLL_BACK: RolloutState.ROLLING_BACK,
                    }[how]
                case Finish():
                    self.state = RolloutState.FINISHED
        return decisions

    def report(self, index, to):
        if self.let[index] and to in ALLOWED[self.at[index]]:
            self.at[index] = to


phase_specs = st.builds(
    PhaseIn,
    percent=st.just(100.0),
    success_percent=st.integers(0, 100),
    failure_percent=st.integers(0, 100),
    failure_min=st.integers(1, 30),
    soak_s=st.sampled_from([0, 30]),
)


@st.composite
def models(draw):
    values = draw(st.lists(st.integers(1, 100), min_size=1, max_size=4, unique=True).map(sorted))
    specs = [draw(phase_specs).model_copy(update={"percent": float(value)}) for value in values]
    return Model(specs, draw(st.sampled_from(OnFailure)), draw(st.integers(0, 25)))


@given(model=models(), data=st.data())
def test_a_rollout_ends_when_all_its_cameras_do_and_offers_nothing_twice(model, data):
    for _ in range(data.draw(st.integers(0, 40))):
        model.tick()
        if model.at:
            index = data.draw(st.integers(0, len(model.at) - 1))
            model.report(index, data.draw(st.sampled_from([*UNDER_WAY[1:], *ENDED])))
        model.now += timedelta(seconds=data.draw(st.sampled_from([0, 20])))
        assert sum(sum(phase.counts.values()) for phase in model.snapshot().phases) == len(model.at)
    for _ in range(200):  # and from here on every camera that was let in ends
        model.tick()
        for index, state in enumerate(model.at):
            if state in UNDER_WAY:
                model.report(index, data.draw(st.sampled_from(ENDED)))
        model.now += timedelta(seconds=30)
        if model.state is not RolloutState.RUNNING:
            break
    assert model.state is not RolloutState.RUNNING
    assert max(model.offered.values(), default=0) <= 1
    if model.state is RolloutState.FINISHED:
        assert all(model.let)


@given(model=models(), data=st.data())
def test_no_camera_has_its_turn_before_its_phase_and_none_after_a_stop(model, data):
    for _ in range(30):
        model.tick()
        begun = {number for number, state in enumerate(model.states, 1) if state is not PhaseState.WAITING}
        assert all(place in begun for place, let in zip(model.place, model.let, strict=True) if let)
        let = sum(model.let)
        if model.state is not RolloutState.RUNNING:
            model.tick()
            assert sum(model.let) == let
        for index in range(len(model.at)):
            model.report(index, data.draw(st.sampled_from([S.OFFERED, S.RUNNING, S.FAILED])))
        model.now += timedelta(seconds=31)


@given(model=models(), data=st.data())
def test_a_tick_that_is_repeated_does_nothing(model, data):
    for _ in range(data.draw(st.integers(0, 10))):
        model.tick()
        for index in range(len(model.at)):
            model.report(index, data.draw(st.sampled_from([S.OFFERED, S.RUNNING, S.FAILED, S.EXPIRED])))
    for _ in range(30):
        if not model.tick():
            break
    before = (model.state, list(model.states), list(model.let), list(model.at))
    assert model.tick() == []
    assert (model.state, model.states, model.let, model.at) == before


@given(model=models(), failing=st.integers(0, 100))
def test_a_package_that_fails_everywhere_never_reaches_a_later_phase(model, failing):
    """Whatever the thresholds are, as long as some success is asked for."""
    model.phases = [spec.model_copy(update={"success_percent": max(1, spec.success_percent)}) for spec in model.phases]
    for _ in range(50):
        model.tick()
        for index in range(len(model.at)):
            model.report(index, S.EXPIRED if (index * 37) % 101 < failing else S.FAILED)
        model.now += timedelta(seconds=31)
    assert not any(let and place > 1 for place, let in zip(model.place, model.let, strict=True))
