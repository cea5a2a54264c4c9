"""Signed packages over REST."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from shared.client.files import Progress, save_stream
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.packages import TrustedKeys
from shared.contracts.packaging import PackageOut, ReturnIn, SignedReturnOut


class Packages:
    """`/v1/packages` and `/v1/package-keys`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, line: str | None = None, limit: int | None = None) -> Iterator[PackageOut]:
        """All packages, or those of a line, newest first."""
        return every(self._transport, "/v1/packages", PackageOut, {"line": line} if line else None, limit=limit)

    def get(self, line: str, release: int | None = None) -> PackageOut:
        """A release of a line, the newest for None; ProblemError 404 if there is none."""
        number = "" if release is None else f"/{release}"
        return parsed(PackageOut, self._transport.call("GET", f"{_path(line)}{number}"))

    def download(self, package: PackageOut, to: Path, *, on_progress: Progress | None = None) -> Path:
        """Save a package as the tar ``to``; DownloadError if its bytes are not those that were signed."""
        with self._transport.stream("GET", f"{_path(package.line)}/{package.release}/file") as answer:
            return save_stream(answer, to, digest=package.digest, on_progress=on_progress)

    def sign_return(self, line: str, body: ReturnIn) -> SignedReturnOut:
        """Have the return to an older release signed; admins only."""
        return parsed(SignedReturnOut, self._transport.call("POST", f"{_path(line)}/returns", body=body))

    def keys(self) -> TrustedKeys:
        """The public keys whose signatures count."""
        return parsed(TrustedKeys, self._transport.call("GET", "/v1/package-keys"))


def _path(line: str) -> str:
    return f"/v1/packages/{quote(line, safe='')}"
