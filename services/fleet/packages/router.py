"""Routes of packages that can be rolled out."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, status
from fastapi.responses import Response

from services.fleet.packages import importing, removing, service, views
from services.fleet.packages.errors import (
    FleetPackageNotFound,
    ImportRefused,
    PackageDiffers,
    PackageFileNotFound,
    PackageInUse,
    PackageRefused,
    PackagesAway,
    PackageTooLarge,
)
from services.fleet.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.rollouts import FleetPackageKind, FleetPackageOut, PackageImport
from shared.kit.auth import OperatorActor, requires
from shared.kit.blobs import BlobNotFound
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, RangeNotSatisfiable, problem_responses
from shared.kit.ranges import serve_ranges

router = APIRouter(prefix="/v1/fleet/packages", tags=["packages"])
_VIEWER = [requires(Scope.VIEWER)]
_PRESENT: Final[dict[int | str, dict[str, Any]]] = {200: {"model": FleetPackageOut, "description": "It was here already"}}
_FILE = "/{name}/{version}/file"
_FILE_RESPONSES = problem_responses(FleetPackageNotFound, PackageFileNotFound, BlobNotFound, RangeNotSatisfiable)
PackageName = Annotated[str, Path(min_length=1, max_length=128)]
PackageVersion = Annotated[str, Path(min_length=1, max_length=64)]
FileName = Annotated[str | None, Query(max_length=256, description="of several files; default: the package itself")]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=FleetPackageOut,
    responses=_PRESENT
    | problem_responses(
        InvalidRequest, PackageRefused, PackageDiffers, ImportRefused, PackageTooLarge, PackagesAway, IdempotencyConflict
    ),
)
def import_(body: PackageImport, services: ServicesDep, session: SessionDep, actor: OperatorActor, once: OnceDep) -> Response:
    """Fetch a signed package from the jobs service, verify it and keep it. One that is here already is answered as it is."""
    return importing.import_once(services, session, body, once, actor=actor)


@router.get("", response_model=Page[FleetPackageOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep,
    page: PageDep,
    name: Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00]*$", description="only of this line")] = None,
    kind: FleetPackageKind | None = None,
) -> Page[FleetPackageOut]:
    """Packages, newest first."""
    shown, following = service.page(session, name, kind, page)
    return Page(items=shown, next_cursor=following)


@router.get(
    "/{name}/{version}", response_model=FleetPackageOut, dependencies=_VIEWER, responses=problem_responses(FleetPackageNotFound)
)
def read(name: PackageName, version: PackageVersion, session: SessionDep) -> FleetPackageOut:
    """One package and its files."""
    return views.one(session, service.get(session, name, version))


@router.head(_FILE, dependencies=_VIEWER, responses=_FILE_RESPONSES)
@router.get(_FILE, dependencies=_VIEWER, responses=_FILE_RESPONSES)
def download(
    name: PackageName,
    version: PackageVersion,
    request: Request,
    session: SessionDep,
    services: ServicesDep,
    filename: FileName = None,
) -> Response:
    """A file of the package, whole or a range of it."""
    file = service.file(session, name, version, filename)
    digest = f"sha256:{file.sha256}"
    return serve_ranges(
        request,
        etag=digest,
        size_bytes=services.blobs.size(digest),
        read=lambda start, end: services.blobs.open_range(digest, start, end),
        filename=file.filename,
    )


@router.delete(
    "/{name}/{version}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(FleetPackageNotFound, PackageInUse),
)
def delete(
    name: PackageName,
    version: PackageVersion,
    services: ServicesDep,
    actor: OperatorActor,
    force: Annotated[bool, Query(description="also if rollouts or cameras need it: they fail for want of it")] = False,
) -> None:
    """Offer it no more; its bytes are removed unless another package has the same."""
    removing.delete(services, name, version, force=force, actor=actor)
