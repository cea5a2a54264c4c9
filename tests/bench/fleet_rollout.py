"""A rollout to simulated cameras in four phases, beside what its requests take without phases and without an engine.

First some cameras poll as fast as they can, and nothing changes. Then a package is given to all of them at once, by hand: what
the service answers in a second of either, it can answer in a rollout as well. The rollout's unchanged polls at the first rate,
its other requests at the second, and one interval of polling per phase, as a camera learns of its turn only when it polls: that
is what the polls themselves need.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.simulation import Simulation
from shared.contracts.rollouts import ActionState
from tests.bench.fleet_ours import Device, Fleet, connected
from tests.bench.fleet_packages import LINE, add_package, assign
from tests.bench.serving_peers import exchange
from tests.bench.table import print_goal

PERCENTS: Final = (1, 10, 50, 100)
ALLOWED: Final = 1.2
"""Times what the polls need."""
_OFTEN_S: Final = 0.2
_RESTLESS: Final = 64
"""Cameras that poll without a pause."""
_QUIET_S: Final = 2.0
_TROUBLES: Final = ("refused", "server_errors", "unreachable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """``seconds`` until all cameras ran the package, and the requests by then: in all, and those of unchanged polls."""

    seconds: float
    requests: int
    unchanged: int

    def rate(self, quiet_rate: float) -> float:
        """Requests per second but for unchanged polls, which would take ``quiet_rate`` a second alone."""
        return (self.requests - self.unchanged) / (self.seconds - self.unchanged / quiet_rate)


def compare_rollout(fleet: Fleet, devices: Sequence[Device], *, poll_s: float, limit_s: float) -> None:
    """Prints how long a rollout takes to end; RuntimeError if that is more than ``limit_s``."""
    quiet_rate = _quiet_rate(fleet, devices[:_RESTLESS])
    first = add_package(fleet, 1, b"first")
    with _simulated(fleet, devices, poll_s) as simulations:
        alone = _timed(simulations, lambda: assign(fleet, first), lambda: _running(fleet, first) == len(devices), limit_s)
        add_package(fleet, 2, b"second")
        rollout = _timed(simulations, lambda: _start(fleet), lambda: _state(fleet) == "finished", limit_s)
        _check(simulations)
    rate = alone.rate(quiet_rate)
    needed = (rollout.requests - rollout.unchanged) / rate + rollout.unchanged / quiet_rate + len(PERCENTS) * poll_s
    print(
        f"\n{len(devices)} simulated cameras that poll every {poll_s:g} s\n"
        f"all at once, by hand: {alone.seconds:.1f} s, {alone.requests} requests, {alone.unchanged} of them unchanged polls\n"
        f"in {len(PERCENTS)} phases: {rollout.seconds:.1f} s, {rollout.requests} requests, {rollout.unchanged} unchanged\n"
        f"its polls need {needed:.1f} s: {rate:.0f} requests/s, unchanged {quiet_rate:.0f}/s, {len(PERCENTS)} x {poll_s:g} s",
        flush=True,
    )
    print_goal(
        f"a rollout to {len(devices)} cameras ends in the time its polls need plus 20 %",
        f"{rollout.seconds:.1f} s, {rollout.seconds / needed:.2f} times",
        rollout.seconds <= ALLOWED * needed,
    )


def _quiet_rate(fleet: Fleet, devices: Sequence[Device]) -> float:
    """Unchanged polls in a second."""
    with _simulated(fleet, devices, poll_s=0.001) as simulations:
        time.sleep(1)  # each has polled once, and knows what is unchanged then
        before, begun = _counted(simulations), time.perf_counter()
        time.sleep(_QUIET_S)
        made = _counted(simulations) - before
        return made["unchanged"] / (time.perf_counter() - begun)


@contextmanager
def _simulated(fleet: Fleet, devices: Sequence[Device], poll_s: float) -> Iterator[list[Simulation]]:
    """The devices, shared out to the service's processes; they install in no time."""
    behaviour = Behaviour(poll_s=poll_s, install_s=0, self_test_s=0, telemetry_s=None, download=False)
    with ExitStack() as ending:
        made = []
        for number, port in enumerate(fleet.ports):
            tokens = {device.controller_id: device.token for device in devices[number :: len(fleet.ports)]}
            made.append(Simulation(f"http://127.0.0.1:{port}", tokens, trusted=None, behaviour=behaviour))
            ending.enter_context(made[-1])
        yield made


def _timed(simulations: Sequence[Simulation], begin: Callable[[], None], is_over: Callable[[], bool], limit_s: float) -> Took:
    """RuntimeError if it is not over after ``limit_s``."""
    begin()
    before, begun = _counted(simulations), time.perf_counter()
    while not is_over():
        if time.perf_counter() - begun > limit_s:
            raise RuntimeError(f"not over after {limit_s:.0f} s: {[each.stages() for each in simulations]}")
        time.sleep(_OFTEN_S)
    seconds, made = time.perf_counter() - begun, _counted(simulations) - before
    # Unchanged polls are counted among the polls as well.
    return Took(seconds=seconds, requests=made.total() - made["unchanged"], unchanged=made["unchanged"])


def _counted(simulations: Sequence[Simulation]) -> Counter[str]:
    """Requests by kind."""
    counts: Counter[str] = Counter()
    for each in simulations:
        counts.update(each.counts())
    return counts


def _check(simulations: Sequence[Simulation]) -> None:
    counts = _counted(simulations)
    if any(counts[what] for what in _TROUBLES):
        raise RuntimeError(f"the service did not answer all cameras well: {[each.complaints() for each in simulations]}")


def _running(fleet: Fleet, package_id: str) -> int:
    query = select(func.count()).where(Action.package_id == package_id, Action.state == ActionState.RUNNING.value)
    with connected(fleet.url) as engine, Session(engine) as session:
        return session.scalar(query) or 0


def _start(fleet: Fleet) -> None:
    phases = [{"percent": percent, "success_percent": 100, "soak_s": 0} for percent in PERCENTS]
    rollout = {"name": LINE, "package": f"{LINE}/2", "selector": "", "phases": phases, "start": True}
    body = json.dumps(rollout | {"rate": {"per_minute": 1_000_000}}).encode()
    status, answer = exchange(fleet.ports[0], fleet.request("POST", "/v1/fleet/rollouts", body))
    if status != 201:
        raise RuntimeError(f"the rollout is refused, {status}: {answer[:1000]!r}")


def _state(fleet: Fleet) -> str:
    status, answer = exchange(fleet.ports[0], fleet.request("GET", "/v1/fleet/rollouts"))
    if status != 200:
        raise RuntimeError(f"the rollouts cannot be read, {status}: {answer[:1000]!r}")
    (rollout,) = json.loads(answer)["items"]
    state: str = rollout["state"]
    return state
