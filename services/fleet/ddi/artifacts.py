"""The files that devices download."""

from functools import partial

from fastapi import Request
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera
from services.fleet.ddi import repository
from services.fleet.ddi.deployments import artifact
from services.fleet.ddi.errors import DownloadNotFound
from services.fleet.packages.models import PackageFile
from shared.contracts.ddi import Artifact
from shared.kit.blobs import BlobNotFound, BlobStore
from shared.kit.ranges import serve_ranges

_MD5SUM = ".MD5SUM"


def listed(session: Session, camera: Camera, module: str, root: str) -> list[Artifact]:
    """The files of a package's part, as deploymentBase names them. DownloadNotFound."""
    return [artifact(file, root) for file in _files(session, camera, module)]


def find(session: Session, camera: Camera, module: str, filename: str) -> PackageFile | PlainTextResponse:
    """A file that an action of the camera names, or `<file>.MD5SUM` of one. DownloadNotFound."""
    files = {file.filename: file for file in _files(session, camera, module)}
    if (file := files.get(filename)) is not None:
        return file
    if filename.endswith(_MD5SUM) and (file := files.get(filename.removesuffix(_MD5SUM))) is not None:
        return PlainTextResponse(f"{file.md5}  {file.filename}\n")
    raise DownloadNotFound(f"There is no file {filename[:80]!r} here.")


def serve(request: Request, blobs: BlobStore, file: PackageFile) -> Response:
    """The bytes, streamed; ranges and ETag as RFC 9110 has them. DownloadNotFound if they were removed."""
    digest = f"sha256:{file.sha256}"
    read = partial(blobs.open_range, digest)
    try:
        blobs.size(digest)
        return serve_ranges(request, etag=file.sha256, size_bytes=file.size_bytes, read=read, filename=file.filename)
    except BlobNotFound as exc:
        raise DownloadNotFound(f"The bytes of {file.filename!r} were removed.") from exc


def _files(session: Session, camera: Camera, module: str) -> list[PackageFile]:
    package_id, _, part = module.partition(":")
    if not repository.may_download(session, camera.id, package_id):
        raise DownloadNotFound("No action of this camera names such files.")
    return [file for file in repository.files(session, package_id, camera.format) if file.part == part]
