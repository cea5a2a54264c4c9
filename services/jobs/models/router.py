"""Routes of models."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, status
from fastapi.responses import Response

from services.jobs.jobs import submission, views
from services.jobs.models import artifacts, lineage, service
from services.jobs.models.errors import (
    ArtifactNotFound,
    InvalidAlias,
    ModelNotFound,
    RegistryAway,
    RegistryRefused,
    VersionInUse,
    VersionNotFound,
)
from services.jobs.runtime import ServicesDep
from shared.contracts.jobs import JobOut, ModelImportSubmission
from shared.contracts.keys import Scope
from shared.contracts.models import AliasIn, LineageOut, ModelOut, VersionOut
from shared.contracts.pages import Page
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, RangeNotSatisfiable, problem_responses
from shared.kit.ranges import serve_ranges

router = APIRouter(prefix="/v1/models", tags=["models"], responses=problem_responses(RegistryAway, RegistryRefused))
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]
ModelName = Annotated[str, Path(min_length=1, max_length=250)]
Version = Annotated[int, Path(ge=1, le=2**31 - 1)]
AliasName = Annotated[str, Path(max_length=255)]


@router.post(
    "/import",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=JobOut,
    responses=problem_responses(InvalidRequest, IdempotencyConflict),
)
def import_weights(
    body: ModelImportSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue the import of weights that were uploaded with `POST /v1/blobs`: they become a version of `register_as`."""
    wanted = submission.look_up(services, body)

    def make() -> JobOut:
        return views.one(session, services, submission.submit(session, wanted, owner=actor.name))

    return once.answer(body, make, status=status.HTTP_202_ACCEPTED)


@router.get("", response_model=Page[ModelOut], dependencies=_VIEWER)
def list_models(services: ServicesDep, page: PageDep) -> Page[ModelOut]:
    """Registered models by name."""
    found, following = service.list_models(services.mlflow, page)
    return Page(items=found, next_cursor=following)


@router.get("/{name}", response_model=ModelOut, dependencies=_VIEWER, responses=problem_responses(ModelNotFound))
def read_model(name: ModelName, services: ServicesDep) -> ModelOut:
    """One model with its aliases."""
    return service.get_model(services.mlflow, name)


@router.get(
    "/{name}/versions", response_model=Page[VersionOut], dependencies=_VIEWER, responses=problem_responses(ModelNotFound)
)
def list_versions(name: ModelName, services: ServicesDep, page: PageDep) -> Page[VersionOut]:
    """Versions, newest first; `artifacts` is filled in where one is asked for."""
    found, following = service.list_versions(services, name, page)
    return Page(items=found, next_cursor=following)


@router.get(
    "/{name}/versions/{version}", response_model=VersionOut, dependencies=_VIEWER, responses=problem_responses(VersionNotFound)
)
def read_version(name: ModelName, version: Version, services: ServicesDep) -> VersionOut:
    """One version with the names of its files."""
    return service.get_version(services, name, version)


@router.get(
    "/{name}/versions/{version}/lineage",
    response_model=LineageOut,
    dependencies=_VIEWER,
    responses=problem_responses(VersionNotFound),
)
def read_lineage(name: ModelName, version: Version, services: ServicesDep) -> LineageOut:
    """What the version was made from, up to the data and the teacher, and what was made from it or looked at it."""
    return lineage.of_version(services, name, version)


@router.delete(
    "/{name}/versions/{version}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=_OPERATOR,
    responses=problem_responses(VersionNotFound, VersionInUse),
)
def delete_version(name: ModelName, version: Version, services: ServicesDep) -> None:
    """Delete a version that no alias, no other version and no unfinished job depends on. Its MLflow run stays."""
    service.delete_version(services, name, version)


_ARTIFACT = "/{name}/versions/{version}/artifacts/{path:path}"
_READER = [requires(Scope.VIEWER, Scope.WORKER)]


@router.head(_ARTIFACT, dependencies=_READER, responses=problem_responses(VersionNotFound, ArtifactNotFound))
@router.get(
    _ARTIFACT, dependencies=_READER, responses=problem_responses(VersionNotFound, ArtifactNotFound, RangeNotSatisfiable)
)
def download(name: ModelName, version: Version, path: str, request: Request, services: ServicesDep) -> Response:
    """A file of the version, whole or a range of it."""
    artifact = artifacts.find(services.mlflow, name, version, path)
    return serve_ranges(
        request,
        etag=artifact.etag,
        size_bytes=artifact.size_bytes,
        read=lambda start, end: artifacts.read(services.mlflow, artifact, start, end),
        filename=artifact.filename,
    )


@router.put(
    "/{name}/aliases/{alias}",
    response_model=VersionOut,
    dependencies=_OPERATOR,
    responses=problem_responses(VersionNotFound, InvalidAlias),
)
def set_alias(name: ModelName, alias: AliasName, body: AliasIn, services: ServicesDep) -> VersionOut:
    """Promote a version: from now on the alias names it, and no other."""
    return service.set_alias(services, name, alias, body.version)


@router.delete(
    "/{name}/aliases/{alias}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=_OPERATOR,
    responses=problem_responses(ModelNotFound, InvalidAlias),
)
def delete_alias(name: ModelName, alias: AliasName, services: ServicesDep) -> None:
    """Take an alias away. Again is no error."""
    service.delete_alias(services, name, alias)
