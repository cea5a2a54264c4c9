"""Routes of blobs: bytes named by their sha256."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, status
from fastapi.responses import Response

from services.jobs.blobs import service
from services.jobs.runtime import ServicesDep
from shared.contracts.base import Digest
from shared.contracts.keys import Scope
from shared.contracts.worker import BlobOut
from shared.kit.auth import requires
from shared.kit.blobs import BlobNotFound, BlobTooLarge, DigestMismatch
from shared.kit.problems import RangeNotSatisfiable, problem_responses
from shared.kit.ranges import serve_ranges

router = APIRouter(prefix="/v1/blobs", tags=["blobs"], dependencies=[requires(Scope.OPERATOR, Scope.WORKER)])

_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problem_responses(BlobTooLarge, DigestMismatch),
    openapi_extra={"requestBody": _BODY},
)
async def upload(
    request: Request,
    services: ServicesDep,
    digest: Annotated[Digest | None, Query(description="what the content must be; another one is refused")] = None,
) -> BlobOut:
    """Store the request's body. The same bytes again change nothing and get the same answer."""
    return await service.receive(services.blobs, request.stream(), digest, services.settings.max_blob_bytes)


@router.head("/{digest}", responses=problem_responses(BlobNotFound, RangeNotSatisfiable))
@router.get("/{digest}", responses=problem_responses(BlobNotFound, RangeNotSatisfiable))
def download(digest: Digest, request: Request, services: ServicesDep) -> Response:
    """The bytes, whole or a range of them; HEAD tells their number."""
    return serve_ranges(
        request,
        etag=digest,
        size_bytes=services.blobs.size(digest),
        read=lambda start, end: services.blobs.open_range(digest, start, end),
        filename=digest.removeprefix("sha256:"),
    )
