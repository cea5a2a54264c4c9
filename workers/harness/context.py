"""What a job is given and what it gives back: the whole interface between the harness and a job's ``run``."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from shared.contracts.jobs import JobOutput, Progress
from shared.contracts.worker import Claim, ImportedDataset, MadePackage, RegisterModel
from shared.kit.cache import Cache
from workers.harness.protocol import JobsClient


class Stopped(Exception):
    """The job noticed that it was asked to stop: raised by ``JobContext.raise_if_stopped``, ends as ``cancelled``."""


class LogFunction(Protocol):
    """Writes one line for the user."""

    def __call__(self, message: str, *, level: str = "info") -> None:
        """``level`` is debug, info, warning or error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """All that a job may touch; no job reads a global client, the clock or the environment.

    ``report``, ``log`` and ``announce_run`` return at once whatever the jobs service is doing: the supervising process
    buffers them. ``jobs`` and ``cache`` speak to the service themselves and wait while it is away.
    """

    claim: Claim
    folder: Path
    """The job's own folder. Survives attempts on the same machine, is removed once the job has succeeded."""
    cache: Cache
    jobs: JobsClient
    mlflow_url: str
    rank: int = 0
    """Number of this process among the job's processes; only rank 0 reports, logs and writes."""
    processes: int = 1
    now: Callable[[], datetime]
    """Aware, UTC."""
    stop_requested: Callable[[], bool]
    """True from the moment the user cancels. The process is killed 2.5 s later, so poll it often."""
    report: Callable[[Progress], None]
    """Cheap: may be called at each step; the newest one is sent about once a second."""
    log: LogFunction
    announce_run: Callable[[str], None]
    """Tells the jobs service which MLflow run belongs to the job."""
    environment: dict[str, str] = field(default_factory=dict)
    """Facts worth storing with the job: git_commit, host, device, versions of the libraries that matter."""

    @property
    def job_id(self) -> str:
        """The job's id, UUIDv7 text."""
        return self.claim.job_id

    @property
    def attempt(self) -> int:
        """1 on the first run."""
        return self.claim.attempt

    @property
    def git_commit(self) -> str:
        """The commit the worker runs, or ``unknown``."""
        return self.environment.get("git_commit", "unknown")

    def raise_if_stopped(self) -> None:
        """Raise ``Stopped`` if the user wants the job to end."""
        if self.stop_requested():
            raise Stopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a job made. Models and datasets come into being only when the jobs service accepts this."""

    result: dict[str, Any] = field(default_factory=dict)
    """Figures and paths as JSON values, shown with the job: miou_96, artifacts, ..."""
    outputs: list[JobOutput] = field(default_factory=list)
    register_models: list[RegisterModel] = field(default_factory=list)
    dataset: ImportedDataset | None = None
    package: MadePackage | None = None
    cancelled: bool = False
    """The job saw ``stop_requested``, saved what was worth saving and ended early."""
