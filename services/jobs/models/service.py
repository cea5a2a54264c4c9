"""Decisions on models: what a finished job promises, what users read, promote and delete."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from services.jobs.jobs import signals
from services.jobs.jobs.models import Job
from services.jobs.models import registration, repository
from services.jobs.models.domain import is_alias
from services.jobs.models.errors import InvalidAlias, ModelNotFound, VersionInUse, VersionNotFound, asking_registry
from services.jobs.models.models import ModelVersion, RegistrationState
from services.jobs.runtime import Services
from shared.contracts.models import ModelOut, VersionOut
from shared.contracts.worker import RegisterModel
from shared.kit.database import begin_reading, db_now
from shared.kit.mlflow_api import MlflowApi, MlflowRefused
from shared.kit.pages import PageParams, decode_cursor, encode_cursor
from shared.kit.problems import InvalidRequest

PARENTS_TAG: Final = "picofleet.parents"
OWNER_TAG: Final = "picofleet.owner"


# What a finished job promises


def register_outputs(session: Session, job: Job, models: Sequence[RegisterModel]) -> None:
    """Promise a version for each of ``models``; they are made after the commit. Call it in the transaction of `finish`."""
    now = db_now(session)
    parents = repository.parents_of(session, [job.id]).get(job.id, [])
    for model in models:
        row = ModelVersion(
            job_id=job.id,
            output=model.output,
            name=model.registered_model,
            run_id=model.run_id,
            artifact_path=model.artifact_path,
            description=model.description,
            tags=_version_tags(job, model, parents),
            metrics=model.metrics,
            next_attempt_at=now,
        )
        session.add(row)
    session.flush()
    signals.of(session).loops.add(registration.LOOP)


def _version_tags(job: Job, model: RegisterModel, parents: Iterable[str]) -> dict[str, str]:
    """The job's own tags first: none of them may pose as one of ours."""
    ours = {OWNER_TAG: job.owner, PARENTS_TAG: " ".join(parents)}
    return job.tags | model.tags | ours


# What users read


def list_models(mlflow: MlflowApi, page: PageParams) -> tuple[list[ModelOut], str | None]:
    """Registered models by name."""
    token = _token(page)
    with asking_registry(_bad_cursor()):
        try:
            found, following = mlflow.search_models(page_size=page.limit, page_token=token)
        except MlflowRefused as exc:
            raise (_bad_cursor() if token else exc) from exc
    return [_model_out(model) for model in found], encode_cursor(following) if following else None


def get_model(mlflow: MlflowApi, name: str) -> ModelOut:
    """Raises ModelNotFound."""
    return _model_out(_model(mlflow, name))


def list_versions(services: Services, name: str, page: PageParams) -> tuple[list[VersionOut], str | None]:
    """Versions of a model, newest first."""
    aliases, token = aliases_of(_model(services.mlflow, name)), _token(page)
    with asking_registry(ModelNotFound(f"There is no model {name!r}.")):
        try:
            found, following = services.mlflow.search_versions(f"name = '{name}'", page_size=page.limit, page_token=token)
        except MlflowRefused as exc:
            raise (_bad_cursor() if token else exc) from exc
    shown = _versions_out(services, name, found, aliases)
    return shown, encode_cursor(following) if following else None


def get_version(services: Services, name: str, version: int) -> VersionOut:
    """One version with the names of its files. Raises VersionNotFound."""
    found = registered_version(services.mlflow, name, version)
    with asking_registry(VersionNotFound(f"The files of {name}/{version} are gone.")):
        files = services.mlflow.all_artifacts(source_of(services.mlflow, found))
    (shown,) = _versions_out(services, name, [found], {alias: version for alias in found.get("aliases", [])})
    return shown.model_copy(update={"artifacts": [file.path for file in files]})


def registered_version(mlflow: MlflowApi, name: str, version: int) -> dict[str, Any]:
    """MLflow's record of a version. Raises VersionNotFound."""
    with asking_registry(VersionNotFound(f"There is no version {version} of a model {name!r}.")):
        return mlflow.get_version(name, version)


def source_of(mlflow: MlflowApi, version: dict[str, Any]) -> str:
    """The artifact folder of a version; one that others registered may name it in their own way."""
    source = str(version["source"])
    return source if source.startswith("mlflow-artifacts:") else mlflow.version_uri(version["name"], int(version["version"]))


# What users change


def set_alias(services: Services, name: str, alias: str, version: int) -> VersionOut:
    """Promote a version. Raises InvalidAlias, VersionNotFound."""
    _check_alias(alias)
    registered_version(services.mlflow, name, version)
    _check_not_going(services, name, version)
    with asking_registry(VersionNotFound(f"There is no version {version} of a model {name!r}.")):
        services.mlflow.set_alias(name, alias, version)
    # Again, for a deletion that began in between: it takes the alias with it, and nobody may believe in a promotion.
    _check_not_going(services, name, version)
    return get_version(services, name, version)


def delete_alias(services: Services, name: str, alias: str) -> None:
    """Take an alias away; again is no error. Raises ModelNotFound."""
    _check_alias(alias)
    with asking_registry(ModelNotFound(f"There is no model {name!r}.")):
        services.mlflow.delete_alias(name, alias)


def delete_version(services: Services, name: str, version: int) -> None:
    """Delete a version that nothing depends on. Raises VersionInUse, which names all that does; VersionNotFound.

    Marked first, so that nobody begins to use it while MLflow is asked; if that fails, the same call goes on with it.
    """
    aliases = registered_version(services.mlflow, name, version).get("aliases", [])
    _mark_deleting(services, name, version, aliases)
    if late := registered_version(services.mlflow, name, version).get("aliases", []):
        _mark(services, name, version, RegistrationState.REGISTERED)
        raise _in_use(name, version, late, [], [])
    with asking_registry(VersionNotFound(f"There is no version {version} of a model {name!r}.")):
        services.mlflow.delete_version(name, version)
    _mark(services, name, version, RegistrationState.DELETED)


def _mark_deleting(services: Services, name: str, version: int, aliases: Sequence[str]) -> None:
    with services.sessions.begin() as session:
        row = repository.locked_version(session, name, version)
        children = repository.children_of(session, name, version)
        jobs = repository.jobs_using(session, name, version)
        if aliases or children or jobs:
            raise _in_use(name, version, aliases, [_label(child) for child in children], [job.id for job in jobs])
        if row is not None:
            row.state = RegistrationState.DELETING


def _in_use(name: str, version: int, aliases: Sequence[str], versions: Sequence[str], jobs: Sequence[str]) -> VersionInUse:
    kinds = (("the alias", aliases), ("the version", versions), ("the job", jobs))
    users = ", ".join(f"{kind} {user}" for kind, found in kinds for user in found)
    return VersionInUse(f"{name}/{version} is used by {users}.", aliases=[*aliases], versions=[*versions], jobs=[*jobs])


def _label(row: ModelVersion) -> str:
    return f"{row.name}/{row.version}" if row.version else f"{row.name} (being registered, of job {row.job_id})"


def _mark(services: Services, name: str, version: int, state: RegistrationState) -> None:
    with services.sessions.begin() as session:
        row = repository.locked_version(session, name, version)
        if row is not None:
            row.state = state


def _check_not_going(services: Services, name: str, version: int) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        row = repository.by_version(session, name, [version]).get(version)
    if row is not None and row.state in (RegistrationState.DELETING, RegistrationState.DELETED):
        raise VersionNotFound(f"{name}/{version} is being deleted.")


def _check_alias(alias: str) -> None:
    if not is_alias(alias):
        raise InvalidAlias.of_field("path.alias", f"{alias!r} cannot be an alias", InvalidAlias.hint)


# MLflow's records as ours


def _model(mlflow: MlflowApi, name: str) -> dict[str, Any]:
    missing = ModelNotFound(f"There is no model {name!r}.")
    if "'" in name:  # it could not be quoted in a search, and MLflow has none of ours by such a name
        raise missing
    with asking_registry(missing):
        return mlflow.get_model(name)


def aliases_of(model: dict[str, Any]) -> dict[str, int]:
    """Versions by alias, of MLflow's record of a model."""
    return {entry["alias"]: int(entry["version"]) for entry in model.get("aliases", [])}


def _model_out(model: dict[str, Any]) -> ModelOut:
    versions = [int(version["version"]) for version in model.get("latest_versions", [])]
    return ModelOut(
        name=model["name"],
        description=model.get("description", ""),
        created_at=_time(model["creation_timestamp"]),
        updated_at=_time(model.get("last_updated_timestamp", model["creation_timestamp"])),
        latest_version=max(versions, default=None),
        aliases=aliases_of(model),
    )


def _versions_out(services: Services, name: str, found: Sequence[dict[str, Any]], aliases: dict[str, int]) -> list[VersionOut]:
    with services.sessions.begin() as session:
        begin_reading(session)
        rows = repository.by_version(session, name, [int(version["version"]) for version in found])
        parents = repository.parents_of(session, [row.job_id for row in rows.values()])
    return [_version_out(version, rows.get(int(version["version"])), parents, aliases) for version in found]


def _version_out(
    version: dict[str, Any], row: ModelVersion | None, parents: dict[str, list[str]], aliases: dict[str, int]
) -> VersionOut:
    number = int(version["version"])
    return VersionOut(
        name=version["name"],
        version=number,
        created_at=_time(version["creation_timestamp"]),
        description=version.get("description", ""),
        tags={tag["key"]: tag["value"] for tag in version.get("tags", [])},
        aliases=sorted(alias for alias, named in aliases.items() if named == number),
        run_id=version.get("run_id") or None,
        job_id=row.job_id if row else None,
        metrics=row.metrics if row else {},
        parents=parents.get(row.job_id, []) if row else [],
    )


def _time(milliseconds: int | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _token(page: PageParams) -> str | None:
    return str(decode_cursor(page.cursor)[0]) if page.cursor else None


def _bad_cursor() -> InvalidRequest:
    return InvalidRequest.of_field("query.cursor", "not a cursor of this list", "leave it out to start at the first page")
