"""The outbox between a finished job and MLflow: each promised version is made once, whatever dies when.

A row is written with the job's end. It carries the job and the output into MLflow as tags of the version, in the very
transaction that makes the version; so whoever finds the row pending later sees by the tags whether an earlier attempt got
through, even if its process died before it could write that down here.
"""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog

from services.jobs.jobs import moves
from services.jobs.jobs.repository import NewEvent
from services.jobs.jobs.service import output_ready
from services.jobs.models import repository
from services.jobs.models.domain import retry_after
from services.jobs.models.models import ModelVersion, RegistrationState
from services.jobs.pipelines import hooks
from services.jobs.runtime import Services
from shared.contracts.jobs import EventType, JobOutput
from shared.contracts.worker import LogLine
from shared.kit.database import db_now
from shared.kit.mlflow_api import MlflowApi, MlflowAway, MlflowMissing, MlflowRefused

log = structlog.get_logger(__name__)

LOOP: Final = "models.registration"
EVERY_S: Final = 5.0
JOB_TAG: Final = "picofleet.job_id"
OUTPUT_TAG: Final = "picofleet.output"

_HOLD: Final = timedelta(seconds=45)
"""Longer than one attempt's calls may take together (6 of 5 s); after a crash the row is taken up again this late."""


def tick(services: Services) -> None:
    """Register all that is due; stop at once when MLflow is away."""
    while not services.stopping.is_set():
        with services.sessions.begin() as session:
            row = repository.take_due(session, db_now(session), _HOLD)
        if row is None or not _attempt(services, row):
            return


def _attempt(services: Services, row: ModelVersion) -> bool:
    """Register one row; False if MLflow is away."""
    try:
        version = find_or_create(services.mlflow, row)
    except MlflowAway as exc:
        _postpone(services, row, str(exc))
        return False
    except MlflowRefused as exc:
        _fail(services, row, str(exc))
    else:
        _settle(services, row, version)
    return True


def find_or_create(mlflow: MlflowApi, row: ModelVersion) -> int:
    """The row's version in MLflow, made if it is not there. Safe to repeat, and to run twice at the same time."""
    versions = _made_for(mlflow, row)
    if not versions:
        mlflow.ensure_model(row.name)
        mlflow.create_version(
            row.name, source=_source(mlflow, row), run_id=row.run_id, tags=_tags(row), description=row.description
        )
        versions = _made_for(mlflow, row)  # not the answer: a twin may have come in from an attempt that seemed lost
    first, *twins = versions
    for twin in twins:
        with suppress(MlflowMissing):  # a replica that met this one has deleted it
            mlflow.delete_version(row.name, twin)
    return first


def _made_for(mlflow: MlflowApi, row: ModelVersion) -> list[int]:
    where = f"name = '{row.name}' and tags.`{JOB_TAG}` = '{row.job_id}' and tags.`{OUTPUT_TAG}` = '{row.output}'"
    found, _ = mlflow.search_versions(where)
    return sorted(int(version["version"]) for version in found)


def _source(mlflow: MlflowApi, row: ModelVersion) -> str:
    uri = f"{mlflow.get_run(row.run_id)['info']['artifact_uri']}/{row.artifact_path}"
    if not mlflow.artifacts(uri):
        raise MlflowRefused(f"the run {row.run_id} has no files below {row.artifact_path!r}", code="NO_FILES", status=404)
    return uri


def _tags(row: ModelVersion) -> dict[str, str]:
    return row.tags | {JOB_TAG: row.job_id, OUTPUT_TAG: row.output}


def _settle(services: Services, row: ModelVersion, version: int) -> None:
    with services.sessions.begin() as session:
        current = repository.locked(session, row.id)
        if current.state != RegistrationState.PENDING:
            return  # a slower attempt of another replica got there first
        current.state, current.version, current.error = RegistrationState.REGISTERED, version, None
        made = JobOutput(name=row.output, kind="model_version", registered_model=row.name, version=version)
        output_ready(session, row.job_id, made)
    log.info("models.registered", job_id=row.job_id, output=row.output, model=row.name, version=version, attempts=row.attempts)


def _postpone(services: Services, row: ModelVersion, why: str) -> None:
    with services.sessions.begin() as session:
        current = repository.locked(session, row.id)
        if current.state == RegistrationState.PENDING:
            current.error = why[:2000]
            current.next_attempt_at = db_now(session) + retry_after(current.attempts)
    log.warning("models.registry_away", job_id=row.job_id, output=row.output, error=why, attempts=row.attempts)


def _fail(services: Services, row: ModelVersion, why: str) -> None:
    with services.sessions.begin() as session:
        current = repository.locked(session, row.id)
        if current.state != RegistrationState.PENDING:
            return
        current.state, current.error = RegistrationState.FAILED, why[:2000]
        message = f"MLflow refused to register {row.output!r} as a version of {row.name!r}: {why}"
        job = moves.note(session, row.job_id, [_error(message)])
        hooks.job_changed(session, job)  # whoever waits for the version waits in vain
    log.error("models.registration_failed", job_id=row.job_id, output=row.output, model=row.name, error=why)


def _error(message: str) -> NewEvent:
    payload: dict[str, Any] = LogLine(level="error", message=message[:8192]).model_dump(mode="json")
    return NewEvent(EventType.LOG, payload)
