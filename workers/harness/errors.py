"""Turns whatever ends a job into a message that says what happened and what to do about it."""

import errno
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared.contracts.jobs import JobError


class JobFailed(Exception):
    """An expected failure whose author knows best what to say."""

    def __init__(self, kind: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.error = JobError(type=kind, message=message, hint=hint)


@dataclass(frozen=True, slots=True)
class _Rule:
    kind: str
    matches: Callable[[BaseException], bool]
    hint: str


def _named(*names: str) -> Callable[[BaseException], bool]:
    # By name, so that the supervisor can translate without importing torch.
    return lambda exc: any(base.__name__ in names for base in type(exc).__mro__)


def _says(*texts: str) -> Callable[[BaseException], bool]:
    return lambda exc: any(text in str(exc).lower() for text in texts)


def _no_space(exc: BaseException) -> bool:
    if isinstance(exc, OSError) and exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return _says("no space left on device", "os error 28", "disk quota exceeded", "database or disk is full")(exc)


def _no_memory(exc: BaseException) -> bool:
    if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno == errno.ENOMEM):
        return True
    return _named("OutOfMemoryError")(exc) or _says("can't allocate memory", "cannot allocate memory", "cuda out of memory")(
        exc
    )


_MEMORY_HINT: Final = (
    "Lower recipe.batch_size, or compute.processes, or give the worker more memory. Retrying the job takes it up from its "
    "last checkpoint."
)
_DISK_HINT: Final = (
    "Free space on the worker's disk (its cache folder and its temporary folder), or lower PICOFLEET_WORKER_CACHE_LIMIT_BYTES. "
    "Then retry the job: it goes on from its last checkpoint."
)
_RULES: Final = (
    _Rule("disk_full", _no_space, _DISK_HINT),
    _Rule("out_of_memory", _no_memory, _MEMORY_HINT),
    _Rule(
        "diverged",
        _named("Diverged"),
        "Lower recipe.learning_rate (half of it is a good next try), or raise recipe.warmup, or set compute.precision to fp32, "
        "and submit a new job.",
    ),
    _Rule(
        "dataset_gone",
        _named("DatasetGone"),
        "Put the dataset's files back where they were registered and retry the job, or register the dataset again.",
    ),
    _Rule(
        "damaged_download",
        _named("DigestMismatch"),
        "Bytes changed on the way or in the blob store. Retry the job; if it happens again, check the blob store's disk.",
    ),
    _Rule(
        "service_away",
        _named("ServiceAway"),
        "The jobs service could not be reached for a long time. Check that it runs and that the worker's "
        "PICOFLEET_WORKER_JOBS_URL leads to it; then retry the job.",
    ),
    _Rule(
        "mlflow_away",
        _named("MlflowError", "TrackingFailed"),
        "Check that the MLflow server runs and that the worker's PICOFLEET_WORKER_MLFLOW_URL leads to it; then retry the job.",
    ),
    _Rule(
        "permission_denied",
        lambda exc: isinstance(exc, PermissionError),
        "Let the user that runs the worker read the dataset's folder and write to the worker's cache folder.",
    ),
    _Rule(
        "file_missing",
        lambda exc: isinstance(exc, FileNotFoundError),
        "A file vanished while the job used it. Put it back and retry the job.",
    ),
    _Rule(
        "refused",
        _named("ProtocolError"),
        "The jobs service refused a message of the worker. Service and worker are probably of different versions: update both.",
    ),
    _Rule(
        "bad_value",
        lambda exc: isinstance(exc, ValueError),
        "Correct the value that the message names and submit the job again.",
    ),
)
_UNKNOWN_HINT: Final = (
    "This is a fault of the program, not of your settings. The job's log shows where it happened: please report it."
)


def translate(exc: BaseException) -> JobError:
    """What to tell the user about an exception that ended a job. Never a stack trace; never empty."""
    if isinstance(exc, JobFailed):
        return exc.error
    message, name, own_hint = str(exc) or type(exc).__name__, type(exc).__name__, _own_hint(exc)
    for rule in _RULES:
        if rule.matches(exc):
            return JobError(type=rule.kind, message=message, hint=own_hint or rule.hint)
    if own_hint is not None:  # made to be read by users: BadWeights, ImportRefused, ...
        return JobError(type=re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(), message=message, hint=own_hint)
    return JobError(type="internal_error", message=f"{name}: {message}", hint=_UNKNOWN_HINT)


def is_stop(exc: BaseException) -> bool:
    """True for the exceptions by which the core and the harness say that they were asked to stop."""
    return _named("Stopped")(exc)


def _own_hint(exc: BaseException) -> str | None:
    hint = getattr(exc, "hint", None)
    return hint if isinstance(hint, str) and hint else None


_SIGNAL_HINTS: Final = {
    signal.SIGKILL: f"Somebody killed it, or the machine ran out of memory. If it happens again: {_MEMORY_HINT}",
    signal.SIGBUS: f"Usually the disk ran full below a memory-mapped file. {_DISK_HINT}",
    signal.SIGSEGV: "A native library crashed. If it happens again, report it with the job's log.",
    signal.SIGABRT: f"A native library gave up, often for lack of memory. {_MEMORY_HINT}",
}


def describe_exit(returncode: int) -> JobError:
    """What to tell the user about a child that ended without a word. ``returncode`` as in subprocess: -9 is SIGKILL."""
    if returncode >= 0:
        message = f"The job's process ended with exit status {returncode} without a result."
        return JobError(type="worker_lost", message=message, hint="The job's log shows its last lines.")
    try:
        ended_by = signal.Signals(-returncode)
    except ValueError:
        return JobError(type="worker_lost", message=f"The job's process was ended by signal {-returncode}.", hint=_UNKNOWN_HINT)
    hint = _SIGNAL_HINTS.get(ended_by, "Somebody ended it. Retry the job: it goes on from its last checkpoint.")
    return JobError(type="worker_lost", message=f"The job's process was ended by {ended_by.name}.", hint=hint)


def hung(seconds: float) -> JobError:
    """For a child that was killed because it reported nothing for ``seconds``."""
    return JobError(
        type="worker_lost",
        message=f"The job's process reported nothing for {seconds:.0f} s and was killed as hung.",
        hint="Look at the job's last log lines; a slow disk or network folder is a frequent reason. A longer limit: "
        "PICOFLEET_WORKER_HANG_S.",
    )


def worker_stopped() -> JobError:
    """For a job that is handed back because its worker is shut down."""
    return JobError(
        type="worker_lost",
        message="The worker was stopped.",
        hint="The job goes on from its last checkpoint on the next free worker.",
    )
