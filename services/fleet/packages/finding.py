"""Which signed package of the jobs service is meant, and fetching it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from services.fleet.packages.errors import ImportRefused, PackageRefused, PackagesAway, PackageTooLarge
from services.fleet.runtime import Services
from shared.contracts.models import LineageKind
from shared.contracts.packages import TrustedKeys
from shared.contracts.packaging import PackageOut
from shared.contracts.rollouts import PackageImport
from shared.contracts.tags import RELEASE_TAG
from shared.kit.problems import InvalidRequest

if TYPE_CHECKING:
    from shared.client.sdk import PicofleetClient

_NEWEST = 500
"""Packages that are looked through for one of a model version, newest first."""


@contextmanager
def asking(services: Services, field: str) -> Iterator["PicofleetClient"]:
    """A client of the jobs service, whose refusals become problems: of ``field`` where what it names is not there.

    PackagesAway, ImportRefused, InvalidRequest.
    """
    from shared.client import errors  # with the client itself, when it is needed

    try:
        with _connected(services) as client:
            yield client
    except errors.ProblemError as exc:
        if exc.status == 404:
            raise InvalidRequest.of_field(field, exc.message, exc.hint or None) from exc
        if exc.status in {401, 403}:
            hint = "give the fleet service a key with the scope operator: PICOFLEET_FLEET_API_KEY_FILE"
            raise PackagesAway(f"The jobs service refuses the fleet service's key: {exc.message}", hint=hint) from exc
        if exc.status >= 500 or exc.status == 429:
            raise PackagesAway(f"The jobs service cannot answer now: {exc.message}") from exc
        raise ImportRefused(exc.message, **({"hint": exc.hint} if exc.hint else {})) from exc
    except (errors.NotReachable, errors.UnexpectedAnswer) as exc:
        raise PackagesAway(f"The jobs service, which keeps the packages, does not answer: {exc}") from exc


def _connected(services: Services) -> "PicofleetClient":
    try:
        return services.connect()
    except OSError as exc:
        raise PackagesAway(f"The key for the jobs service cannot be read: {exc}") from exc


def find(client: "PicofleetClient", wanted: PackageImport) -> PackageOut:
    """The package that is meant. InvalidRequest; what the client raises."""
    if wanted.package is not None:
        return _released(client, wanted.package, "body.package")
    if wanted.job is not None:
        return _of_job(client, wanted.job)
    assert wanted.model is not None
    return _of_model(client, wanted.model)


def _released(client: "PicofleetClient", ref: str, field: str) -> PackageOut:
    line, _, release = ref.partition("/")
    if not re.fullmatch(r"[1-9][0-9]{0,9}", release) or int(release) > 2**31 - 1:
        raise InvalidRequest.of_field(field, f"{release!r} is no release number", "line/release, as picosam2/3")
    return client.packages.get(line, int(release))


def _of_job(client: "PicofleetClient", job_id: str) -> PackageOut:
    job = client.jobs.get(job_id)
    result = job.result or {}
    if "line" not in result or "release" not in result:
        hint = "name a packaging job that has succeeded and was no dry run"
        raise InvalidRequest.of_field("body.job", f"the job {job_id} ({job.kind}, {job.state}) made no package", hint)
    return client.packages.get(str(result["line"]), int(result["release"]))


def _of_model(client: "PicofleetClient", ref: str) -> PackageOut:
    """The version is a package itself, or it was packaged, or what was made of it was: the newest package of these."""
    field = "body.model"
    name, _, version = ref.rpartition("/")
    if not name or not re.fullmatch(r"[1-9][0-9]{0,9}", version):
        raise InvalidRequest.of_field(field, f"{ref!r} is no model version", "name/version, as picosam2/2")
    found = client.models.version(name, int(version))
    if release := found.tags.get(RELEASE_TAG):
        return _released(client, release, field)
    made = _descendants(client, name, int(version))
    for package in client.packages.list(limit=_NEWEST):
        if f"{package.model}/{package.version}" in made:
            return package
    raise InvalidRequest.of_field(field, f"{ref} was not packaged", f"package it first: `picofleet package create {ref}`")


def _descendants(client: "PicofleetClient", name: str, version: int) -> set[str]:
    lineage = client.models.lineage(name, version)
    return {node.label for node in lineage.nodes if node.kind is LineageKind.VERSION and node.distance >= 0}


def fetch(client: "PicofleetClient", package: PackageOut, folder: Path, max_bytes: int) -> Path:
    """The package as a tar in ``folder``. PackageTooLarge; PackageRefused if other bytes come than were announced."""
    from shared.client.errors import DownloadError

    name = f"{package.line}-{package.release}.tar"

    def check(size_bytes: int, total: int | None = None) -> None:
        if max(size_bytes, total or 0) > max_bytes:
            raise PackageTooLarge(f"{name} has more than {max_bytes} bytes.", max_bytes=max_bytes)

    check(package.size_bytes)
    try:
        return client.packages.download(package, folder / name, on_progress=check)
    except DownloadError as exc:
        raise PackageRefused(f"{name}: {exc.message}", file=name, hint=exc.hint) from exc


def keys(client: "PicofleetClient") -> TrustedKeys:
    """Whose signatures count."""
    return client.packages.keys()
