"""Routes of software modules, their artifacts, and the types of modules and sets."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Body, Path, Query, Request, status
from starlette.concurrency import run_in_threadpool

from services.fleet.hawkbit.auth import VIEWER, OperatorActor
from services.fleet.hawkbit.errors import (
    ArtifactExists,
    ChecksumDiffers,
    HawkbitRoute,
    ModuleArtifactNotFound,
    ModuleExists,
    ModuleInUse,
    ModuleNotFound,
    UploadLost,
)
from services.fleet.hawkbit.messages import MOST_BODIES, Base, BaseDep, Paged, Title, WindowDep
from services.fleet.hawkbit.software import service
from services.fleet.hawkbit.software.domain import MODULE_TYPES, SET_TYPES
from services.fleet.hawkbit.software.schemas import ArtifactOut, ModuleIn, ModuleOut, TypeOut
from services.fleet.hawkbit.software.upload import BadUpload, Sums, Uploaded, receive
from services.fleet.packages.removing import remove_unused
from services.fleet.runtime import Services, ServicesDep
from shared.kit.auth import Actor
from shared.kit.blobs import BlobTooLarge
from shared.kit.database import SessionDep, begin_reading
from shared.kit.problems import Problem, problem_responses

router = APIRouter(route_class=HawkbitRoute)
ModuleId = Annotated[int, Path(ge=1, le=2**63 - 1)]
ArtifactId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_MODULES = "/softwaremodules"
_MODULE = _MODULES + "/{module_id}"
_ARTIFACTS = _MODULE + "/artifacts"
_ARTIFACT = _ARTIFACTS + "/{artifact_id}"
_NOT_FOUND = problem_responses(ModuleNotFound)
_FORM = {
    "multipart/form-data": {
        "schema": {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
    }
}


def _types(found: list[tuple[int, str, str]], base: Base, path: str) -> Paged[TypeOut]:
    shown = [TypeOut(id=n, key=key, name=name, links={"self": base(path, n)}) for n, key, name in found]
    return Paged(content=shown, total=len(shown), size=len(shown))


@router.get("/softwaremoduletypes", dependencies=[VIEWER])
def list_module_types(base: BaseDep) -> Paged[TypeOut]:
    """What a module can be: these, always."""
    return _types([(each.id, each.key, each.name) for each in MODULE_TYPES], base, "softwaremoduletypes")


@router.get("/distributionsettypes", dependencies=[VIEWER])
def list_set_types(base: BaseDep) -> Paged[TypeOut]:
    """What a distribution set can be: these, always."""
    return _types([(each.id, each.key, each.name) for each in SET_TYPES], base, "distributionsettypes")


@router.post(_MODULES, status_code=status.HTTP_201_CREATED, responses=problem_responses(ModuleExists))
def create(
    bodies: Annotated[list[ModuleIn], Body(min_length=1, max_length=MOST_BODIES)],
    session: SessionDep,
    base: BaseDep,
    actor: OperatorActor,
) -> list[ModuleOut]:
    """Make modules, empty ones."""
    return [service.show(module, base) for module in service.create(session, bodies, actor=actor)]


@router.get(_MODULES, dependencies=[VIEWER])
def list_all(session: SessionDep, window: WindowDep, base: BaseDep) -> Paged[ModuleOut]:
    """All modules."""
    return service.page(session, window, base)


@router.get(_MODULE, dependencies=[VIEWER], responses=_NOT_FOUND)
def read(module_id: ModuleId, session: SessionDep, base: BaseDep) -> ModuleOut:
    """One module."""
    return service.show(service.get(session, module_id), base)


@router.delete(_MODULE, status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(ModuleNotFound, ModuleInUse))
def delete(
    module_id: ModuleId, session: SessionDep, services: ServicesDep, after: BackgroundTasks, actor: OperatorActor
) -> None:
    """Forget a module and its artifacts. Once more changes nothing."""
    after.add_task(remove_unused, services, service.delete(session, module_id, actor=actor))


@router.post(
    _ARTIFACTS,
    status_code=status.HTTP_201_CREATED,
    responses=problem_responses(
        ModuleNotFound, ModuleInUse, ArtifactExists, UploadLost, BadUpload, ChecksumDiffers, BlobTooLarge
    ),
    openapi_extra={"requestBody": {"content": _FORM, "required": True}},
)
async def upload(
    module_id: ModuleId,
    request: Request,
    services: ServicesDep,
    base: BaseDep,
    actor: OperatorActor,
    filename: Annotated[Title | None, Query(description="overrides the form's")] = None,
    sha256sum: Annotated[str | None, Query(max_length=64)] = None,
    sha1sum: Annotated[str | None, Query(max_length=40)] = None,
    md5sum: Annotated[str | None, Query(max_length=32)] = None,
) -> ArtifactOut:
    """Add a file: a form with the part `file`. No transaction is open while it comes."""

    await run_in_threadpool(_check, services, module_id)
    uploaded = await receive(
        services.blobs,
        request.headers.get("content-type", ""),
        request.stream(),
        filename=filename,
        expected=Sums(sha256=sha256sum, sha1=sha1sum, md5=md5sum),
        max_bytes=services.settings.max_package_bytes,
    )
    return await run_in_threadpool(_add, services, module_id, uploaded, base, actor)


def _check(services: Services, module_id: int) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        service.check_open(session, module_id)


def _add(services: Services, module_id: int, uploaded: Uploaded, base: Base, actor: Actor) -> ArtifactOut:
    try:
        with services.sessions.begin() as session:
            artifact = service.add_artifact(session, services.blobs, module_id, uploaded, actor=actor)
            return service.show_artifact(artifact, base)
    except Problem:
        remove_unused(services, [uploaded.sha256])
        raise


@router.get(_ARTIFACTS, dependencies=[VIEWER], responses=_NOT_FOUND)
def list_artifacts(module_id: ModuleId, session: SessionDep, window: WindowDep, base: BaseDep) -> Paged[ArtifactOut]:
    """All files of a module."""
    return service.artifacts_page(session, module_id, window, base)


@router.get(_ARTIFACT, dependencies=[VIEWER], responses=problem_responses(ModuleNotFound, ModuleArtifactNotFound))
def read_artifact(module_id: ModuleId, artifact_id: ArtifactId, session: SessionDep, base: BaseDep) -> ArtifactOut:
    """One file of a module."""
    return service.show_artifact(service.get_artifact(session, module_id, artifact_id), base)


@router.delete(
    _ARTIFACT,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(ModuleNotFound, ModuleArtifactNotFound, ModuleInUse),
)
def delete_artifact(
    module_id: ModuleId,
    artifact_id: ArtifactId,
    session: SessionDep,
    services: ServicesDep,
    after: BackgroundTasks,
    actor: OperatorActor,
) -> None:
    """Take a file out of its module."""
    after.add_task(remove_unused, services, service.delete_artifact(session, module_id, artifact_id, actor=actor))
