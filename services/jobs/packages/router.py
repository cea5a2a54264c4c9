"""Routes of signed packages, and of the public keys that tell whose they are."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, status
from fastapi.responses import Response

from services.jobs.packages import service
from services.jobs.packages.errors import PackageNotFound, PackagesNotSigned, SigningUnavailable
from services.jobs.runtime import ServicesDep
from shared.contracts.base import Name
from shared.contracts.keys import Scope
from shared.contracts.packages import TrustedKeys
from shared.contracts.packaging import PackageOut, ReturnIn, SignedReturnOut
from shared.contracts.pages import Page
from shared.kit.auth import requires
from shared.kit.blobs import BlobNotFound
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import RangeNotSatisfiable, problem_responses
from shared.kit.ranges import serve_ranges

router = APIRouter(prefix="/v1", tags=["packages"])
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]
Line = Annotated[str, Path(min_length=1, max_length=63)]
ReleaseNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
_FILE = "/packages/{line}/{release}/file"
_FILE_RESPONSES = problem_responses(PackageNotFound, BlobNotFound, RangeNotSatisfiable)


@router.get(
    "/package-keys",
    response_model=TrustedKeys,
    dependencies=_VIEWER,
    responses=problem_responses(PackagesNotSigned, SigningUnavailable),
)
def list_keys(services: ServicesDep) -> TrustedKeys:
    """The public keys whose signatures count: what a camera is given, and `picofleet package verify` asks for."""
    return services.signer.trusted()


@router.get("/packages", response_model=Page[PackageOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep, page: PageDep, line: Annotated[Name | None, Query(description="only this line's")] = None
) -> Page[PackageOut]:
    """Signed packages, newest first."""
    found, following = service.page(session, line, page)
    return Page(items=found, next_cursor=following)


@router.get("/packages/{line}", response_model=PackageOut, dependencies=_VIEWER, responses=problem_responses(PackageNotFound))
def read_newest(line: Line, session: SessionDep) -> PackageOut:
    """The newest release of a line."""
    return service.shown(session, [service.get(session, line)])[0]


@router.get(
    "/packages/{line}/{release}", response_model=PackageOut, dependencies=_VIEWER, responses=problem_responses(PackageNotFound)
)
def read(line: Line, release: ReleaseNumber, session: SessionDep) -> PackageOut:
    """One release of a line."""
    return service.shown(session, [service.get(session, line, release)])[0]


@router.post(
    "/packages/{line}/returns",
    status_code=status.HTTP_201_CREATED,
    response_model=SignedReturnOut,
    dependencies=_OPERATOR,
    responses=problem_responses(PackageNotFound, PackagesNotSigned, SigningUnavailable, IdempotencyConflict),
)
def sign_return(line: Line, body: ReturnIn, session: SessionDep, services: ServicesDep, once: OnceDep) -> Response:
    """Sign the return of a line's cameras to an older release, without which they take no lower number."""
    return once.answer(body, lambda: service.sign_return(session, services.signer, line, body))


@router.head(_FILE, dependencies=_VIEWER, responses=_FILE_RESPONSES)
@router.get(_FILE, dependencies=_VIEWER, responses=_FILE_RESPONSES)
def download(line: Line, release: ReleaseNumber, request: Request, session: SessionDep, services: ServicesDep) -> Response:
    """The signed package as a tar, whole or a range of it."""
    digest = service.get(session, line, release).digest
    return serve_ranges(
        request,
        etag=digest,
        size_bytes=services.blobs.size(digest),
        read=lambda start, end: services.blobs.open_range(digest, start, end),
        filename=f"{line}-{release}.tar",
    )
