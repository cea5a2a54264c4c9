"""Packages that can be rolled out, over REST."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from shared.client.errors import ProblemError
from shared.client.files import Progress, save_stream
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.rollouts import FleetPackageOut, PackageImport

_ROOT = "/v1/fleet/packages"


class FleetPackages:
    """`/v1/fleet/packages`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def import_(self, wanted: PackageImport) -> FleetPackageOut:
        """Fetch a package from the jobs service and verify it; one that is there already is answered as it is."""
        return parsed(FleetPackageOut, self._transport.call("POST", _ROOT, body=wanted))

    def list(self, *, limit: int | None = None) -> Iterator[FleetPackageOut]:
        """Packages, newest first."""
        return every(self._transport, _ROOT, FleetPackageOut, limit=limit)

    def get(self, ref: str) -> FleetPackageOut:
        """One package, as picosam2/3; ProblemError 404 if there is none."""
        return parsed(FleetPackageOut, self._transport.call("GET", _package(ref)))

    def find(self, ref: str) -> FleetPackageOut | None:
        """Like ``get``, but None if there is none."""
        try:
            return self.get(ref)
        except ProblemError as exc:
            if exc.status == 404:
                return None
            raise

    def delete(self, ref: str, *, force: bool = False) -> None:
        """Remove a package; ProblemError 409 if a camera or a rollout needs it. With ``force`` these fail for want of it."""
        self._transport.call("DELETE", _package(ref), params={"force": "true"} if force else None)

    def download(self, ref: str, to: Path, *, digest: str | None = None, on_progress: Progress | None = None) -> Path:
        """Save a package as the tar ``to``; DownloadError if its bytes are not those of ``digest``, where one is given."""
        with self._transport.stream("GET", f"{_package(ref)}/file") as answer:
            return save_stream(answer, to, digest=digest, on_progress=on_progress)


def _package(ref: str) -> str:
    name, _, version = ref.partition("/")
    return f"{_ROOT}/{quote(name, safe='')}/{quote(version, safe='')}"
