"""How the demo ends where a package was made: it is brought to simulated cameras, and a second, broken one is stopped."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from shared.client.cli.common import escaped, table
from shared.client.cli.rollout_view import counts_in_words, follow_rollout, require_finished
from shared.client.cli.watch import follow
from shared.client.errors import ClientError, JobFailed
from shared.client.sdk import PicofleetClient
from shared.contracts.base import new_id
from shared.contracts.cameras import GroupIn, ProvisioningTokenIn
from shared.contracts.jobs import JobState, PackagingSubmission
from shared.contracts.pipelines import StepOut
from shared.contracts.rollouts import ActionState, PackageImport, RolloutIn, RolloutOut, RolloutState

if TYPE_CHECKING:
    from shared.client.simulator.simulation import Simulation

CAMERAS: Final = 50
CANARIES: Final = 5
GROUP: Final = "demo"
SOAK_S: Final = 2.0
POLL_S: Final = 1.0
"""How often the cameras poll; others do so every five minutes, but nobody would wait so long here."""
LOOK_S: Final = 0.5
ARRIVAL_S: Final = 30.0
_BROKEN_ONES: Final = 100
"""Of the releases after the first one: nobody knows which number the second gets while others make packages too."""


@dataclass(frozen=True, slots=True)
class Ways:
    """The demo's clients, and what tells this run's cameras from those of runs before."""

    client: PicofleetClient
    console: Console
    run: str

    @property
    def labels(self) -> dict[str, str]:
        """Of this run's cameras."""
        return {"made-by": "demo", "run": self.run}


def roll_out(client: PicofleetClient, console: Console, step: StepOut) -> str:
    """Bring what the packaging step made to cameras, phase by phase; then a second release that fails its self test, which is
    stopped at the canaries, and they return. The words for the demo's last line. ClientError if anything goes otherwise.
    """
    ways = Ways(client, console, new_id()[-12:])
    first = f"{step.result['line']}/{step.result['release']}"
    console.print()
    with _second_package(ways, step) as second_job, _cameras(ways, first) as simulation:
        ended = [require_finished(_rolled_out(ways, first))]
        second = _made(ways, second_job)
        console.print(f"{escaped(second)} is the same network, but these cameras were told to fail its self test.")
        ended.append(_require_stopped(_rolled_out(ways, second)))
        _wait_until(lambda: simulation.packages() == {first: CAMERAS}, f"not all cameras run {first} again")
        console.print(_states(ended))
        _show_cameras(ways)
    returned = ended[1].counts.get(ActionState.RESTORED, 0)
    return f"rolled out {first} to {CAMERAS} cameras, {second} stopped at the canary, {returned} returned"


@contextmanager
def _second_package(ways: Ways, step: StepOut) -> Iterator[str]:
    """The id of a job that packages the same network once more; cancelled if the demo ends before it."""
    before = ways.client.jobs.get(step.job_id or "")
    body = PackagingSubmission.model_validate(before.spec | {"name": "demo-second-package", "tags": {"made-by": "demo"}})
    job = ways.client.jobs.submit_packaging(body)
    ways.console.print("A second release is being packaged meanwhile.")
    try:
        yield job.id
    except BaseException:
        with suppress(ClientError):
            ways.client.jobs.cancel(job.id)
        raise


def _made(ways: Ways, job_id: str) -> str:
    job = follow(ways.client, job_id, logs=False)
    if job.state is not JobState.SUCCEEDED:
        why = job.error.message if job.error else job.state.value
        raise JobFailed(f"The second package was not made: {why}", hint=f"See `picofleet jobs show {job.id}`.")
    return f"{job.result['line']}/{job.result['release']}"


@contextmanager
def _cameras(ways: Ways, first: str) -> Iterator["Simulation"]:
    """Cameras that are in the group and have been heard of."""
    from shared.client.simulator.behaviour import Behaviour
    from shared.client.simulator.simulation import Simulation, named

    fleet = ways.client.fleet
    selector = ",".join(f"{key}={value}" for key, value in ways.labels.items())
    fleet.groups.put(GROUP, GroupIn(selector=selector, description="simulated cameras of the newest demo"))
    wanted = {"name": f"demo-{ways.run}", "labels": ways.labels, "max_cameras": CAMERAS}
    token = fleet.provisioning_tokens.create(ProvisioningTokenIn.model_validate(wanted))
    behaviour = Behaviour(broken=_broken(first), poll_s=POLL_S, telemetry_s=POLL_S, install_s=0.5, self_test_s=0.5)
    names = named(f"demo-{ways.run}-", CAMERAS)
    given: dict[str, Any] = {"provisioning": token.token, "trusted": ways.client.packages.keys(), "behaviour": behaviour}
    try:
        with Simulation(fleet.url, names, **given) as simulation:
            _wait_until(lambda: fleet.groups.get(GROUP).cameras == CAMERAS, "not all cameras have registered")
            ways.console.print(f"{CAMERAS} simulated cameras poll {fleet.url} every second, in the group {GROUP}.")
            yield simulation
    finally:
        with suppress(ClientError):
            fleet.provisioning_tokens.revoke(token.id)


def _broken(first: str) -> frozenset[str]:
    line, _, release = first.rpartition("/")
    return frozenset(f"{line}/{int(release) + later}" for later in range(1, _BROKEN_ONES))


def _rolled_out(ways: Ways, package: str) -> RolloutOut:
    """The rollout of a package when it has ended: canaries, a quarter, all."""
    fleet = ways.client.fleet
    fleet.packages.import_(PackageImport(package=package))
    canaries = {"percent": 100 * CANARIES / CAMERAS, "soak_s": SOAK_S, "failure_min": CANARIES}
    phases = [canaries, {"percent": 25, "soak_s": SOAK_S}, {"percent": 100, "soak_s": SOAK_S}]
    wanted = {"name": f"demo-{ways.run}", "package": package, "group": GROUP, "phases": phases, "start": True}
    rollout = fleet.rollouts.create(RolloutIn.model_validate(wanted))
    ways.console.print(f"Rollout of {escaped(package)}: {CANARIES} cameras, 25 %, 100 %; picofleet rollouts show {rollout.id}")
    return follow_rollout(ways.client, rollout, poll_s=LOOK_S)


def _require_stopped(ended: RolloutOut) -> RolloutOut:
    """``ended`` itself if it went no further than the canaries, and all that it touched have returned."""
    states = ended.counts
    touched = sum(number for state, number in states.items() if state is not ActionState.CANCELLED)
    stopped = ended.state is RolloutState.ROLLED_BACK and touched == states.get(ActionState.RESTORED, 0) == CANARIES
    if not stopped:
        words = f"{ended.package} should have been stopped at its {CANARIES} canaries, but is {ended.state.value}"
        raise ClientError(f"{words}: {counts_in_words(states)}.", hint=f"See `picofleet rollouts show {ended.id}`.")
    return ended


def _states(ended: list[RolloutOut]) -> Any:
    sizes = [f"{CANARIES} cameras", "25 %", "100 %"]
    rows = [
        [escaped(each.package), each.state.value.replace("_", " "), *(counts_in_words(phase.counts) for phase in each.phases)]
        for each in ended
    ]
    return table(["rollout", "state", *sizes], rows)


def _show_cameras(ways: Ways) -> None:
    cameras = ways.client.fleet.cameras.list(group=GROUP)
    counted = Counter((each.current_package or "none", each.health.value) for each in cameras)
    words = ", ".join(f"{number} run {package} (health {health})" for (package, health), number in sorted(counted.items()))
    ways.console.print(f"  {'cameras':<23}{escaped(words)}")


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + ARRIVAL_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ClientError(f"After {ARRIVAL_S:.0f} s {otherwise}.", hint="See `picofleet cameras list --group demo`.")
        time.sleep(LOOK_S / 2)
