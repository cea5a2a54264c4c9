"""Takes one mechanism out at a time and sees the fault tests fail: ``make mutants``.

A fault test that passes without the mechanism it is about proves nothing. Each mutant is one replacement in a copy of the
tree; its tests must fail there. Exit code 1 if a mutant survives, or if its text is no longer in the source.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("services", "workers", "shared", "infra", "tests", "pyproject.toml")
E2E = "tests/e2e/test_faults.py::"
SUPERVISOR = "tests/workers/harness/test_supervisor.py::"


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` becomes ``new`` in ``file``; ``tests`` must then fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "nobody looks for leases that ran out",
        "services/jobs/jobs/sweeper.py",
        "    expire_leases(services.sessions)\n",
        "",
        E2E + "test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run",
    ),
    Mutant(
        "a resumed job begins anew",
        "workers/harness/fitting/job.py",
        "for path in checkpoints.candidates():",
        "for path in ():",
        E2E + "test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run",
    ),
    Mutant(
        "the optimiser's moments are not restored",
        "shared/picosam/checkpoint.py",
        "        _restore_optimizer(state.optimizer, load_file(path / OPTIMIZER))\n",
        "",
        E2E + "test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run",
    ),
    Mutant(
        "lost messages are not sent again",
        "services/jobs/jobs/sweeper.py",
        "    resend_all_if_broker_is_new(services.sessions, services.redis)\n    resend_due(services.sessions)\n",
        "",
        E2E + "test_redis_killed_and_emptied_loses_no_queued_job",
    ),
    Mutant(
        "no full lease after an outage of the service's own",
        "services/jobs/jobs/sweeper.py",
        "            repository.extend_leases(session, tick.now + lease)\n",
        "",
        "tests/services/jobs/jobs/test_sweeper.py",
    ),
    Mutant(
        "a worker gives up when the jobs service is away",
        "workers/harness/attempt.py",
        "                self._note_away(exc)\n",
        "                self._stale.set()\n",
        E2E + "test_a_job_outlives_an_outage_of_the_jobs_service_that_is_longer_than_the_lease",
    ),
    Mutant(
        "what MLflow does not take is dropped",
        "shared/kit/tracking.py",
        "                self._back_off(tries, exc)\n",
        "                self._waiting.clear()\n                self._back_off(tries, exc)\n",
        E2E + "test_metrics_of_an_mlflow_outage_arrive_afterwards",
    ),
    Mutant(
        "lost attempts are not counted",
        "services/jobs/jobs/domain.py",
        "        if lost.lost_attempts < MAX_LOST_ATTEMPTS:\n",
        "        lost = replace(lost, lost_attempts=0)\n        if True:\n",
        E2E + "test_a_job_that_kills_its_worker_five_times_fails_with_that_reason",
    ),
    Mutant(
        "whoever asks gets the job",
        "services/jobs/jobs/domain.py",
        "    JobState.SUCCEEDED: frozenset(),\n",
        "    JobState.SUCCEEDED: frozenset({JobState.RUNNING}),\n",
        E2E + "test_the_same_message_delivered_eight_times_runs_once",
    ),
    Mutant(
        "workers do not hear of a cancel",
        "workers/harness/attempt.py",
        "            self._stop_requested.set()\n",
        "            pass\n",
        E2E + "test_cancel_takes_five_seconds_at_any_stage",
    ),
    Mutant(
        "a child that does not obey is not killed",
        "workers/harness/attempt.py",
        "            return now - self._told_to_stop_at > grace_s\n",
        "            return now - self._told_to_stop_at > 60 * grace_s\n",
        SUPERVISOR + "test_a_cancel_ends_the_job_within_five_seconds",
    ),
    Mutant(
        "a loss that is no number goes unnoticed",
        "shared/picosam/fit.py",
        "    if not all(map(math.isfinite, measured.values())):\n",
        "    if False:\n",
        E2E + "test_a_loss_that_is_no_number_fails_the_job_with_advice",
    ),
    Mutant(
        "a full disk is any error",
        "workers/harness/errors.py",
        '    _Rule("disk_full", _no_space, _DISK_HINT),\n',
        "",
        SUPERVISOR + "test_a_failure_says_what_to_do",
    ),
    Mutant(
        "errors are passed on without advice",
        "workers/harness/errors.py",
        "    if isinstance(exc, JobFailed):\n        return exc.error\n",
        '    return JobError(type="internal_error", message=str(exc), hint=_UNKNOWN_HINT)\n',
        "tests/workers/training/test_run.py::test_a_dataset_whose_folder_is_gone_fails_with_advice",
    ),
)


def main() -> int:
    """Run all mutants, or those whose description contains an argument; print a table."""
    wanted = [mutant for mutant in MUTANTS if all(word in mutant.what for word in sys.argv[1:])]
    rows = []
    for number, mutant in enumerate(wanted, start=1):
        rows.append([mutant.what, *_verdict(mutant)])
        print(f"{number}/{len(wanted)} {': '.join(rows[-1])} s", flush=True)
    print(tabulate(rows, ["mechanism taken out", "its tests", "seconds"], tablefmt="github"))
    return 0 if all(row[1] == "failed, as they must" for row in rows) else 1


def _verdict(mutant: Mutant) -> tuple[str, str]:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="picofleet-mutant-") as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tree / name)
        target = tree / mutant.file
        text = target.read_text()
        if text.count(mutant.old) != 1:
            return f"not applicable: {text.count(mutant.old)} places", "-"
        target.write_text(text.replace(mutant.old, mutant.new))
        code = _run(mutant.tests, tree)
    verdict = {0: "PASSED: the mutant survived", 1: "failed, as they must"}.get(code, f"pytest ended with {code}")
    return verdict, f"{time.monotonic() - begun:.0f}"


def _run(tests: str, tree: Path) -> int:
    command = [str(ROOT / "infra/ci/isolated"), sys.executable, "-m", "pytest", "-x", "-q", "-W", "default", tests]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
