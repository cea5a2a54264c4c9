"""From a signed package of the jobs service to one that can be rolled out.

Nothing is asked, fetched or verified inside of a transaction; what is stored in vain is removed again.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from fastapi import status
from fastapi.responses import Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.events.record import record
from services.fleet.packages import files, finding, removing, repository, views
from services.fleet.packages.errors import PackageDiffers, PackageRefused
from services.fleet.packages.files import StoredFile
from services.fleet.packages.models import Package
from services.fleet.runtime import Services
from shared.contracts.base import Digest
from shared.contracts.cameras import CameraFormat
from shared.contracts.packaging import PackageOut
from shared.contracts.rollouts import FleetPackageKind, PackageImport
from shared.kit.auth import Actor
from shared.kit.database import Violation, begin_reading, violated
from shared.kit.idempotency import Once
from shared.kit.packages.errors import PackageError
from shared.kit.packages.verifying import Verified, verify

if TYPE_CHECKING:
    from shared.client.sdk import PicofleetClient

log = structlog.get_logger(__name__)

_NAMED_ONCE: Final = Violation("packages", ("name", "version"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """A verified package, and its files in the store."""

    verified: Verified
    files: Sequence[StoredFile]


def import_once(services: Services, session: Session, wanted: PackageImport, once: Once, *, actor: Actor) -> Response:
    """As ``import_``, with the answer: that of before for the same Idempotency-Key, whatever ``wanted`` means by now.

    ``session`` has begun nothing yet: it keeps the answer. IdempotencyConflict.
    """
    with services.sessions.begin() as reading:
        begin_reading(reading)
        earlier = replace(once, session=reading).earlier(wanted)
    if earlier is not None:
        return earlier
    package_id, new = import_(services, wanted, actor=actor)
    code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    return once.answer(wanted, lambda: views.one(session, session.get_one(Package, package_id)), status=code)


def import_(services: Services, wanted: PackageImport, *, actor: Actor) -> tuple[str, bool]:
    """The package's id, and whether it is new here: the same package again is the one that is there.

    InvalidRequest, PackageRefused, PackageDiffers, PackageTooLarge, PackagesAway, ImportRefused.
    """
    field = f"body.{next(name for name, value in wanted if value is not None)}"
    with finding.asking(services, field) as client:
        found = finding.find(client, wanted)
        if present := _present(services, found.line, str(found.release), found.manifest):
            return present, False
        with tempfile.TemporaryDirectory(prefix="picofleet-import-") as folder:
            tar = finding.fetch(client, found, Path(folder), services.settings.max_package_bytes)
            verified = _verified(tar, found, client)
            with _stored(services, tar, verified) as fetched:
                return _added(services, fetched, actor=actor)


def files_of_import(services: Services, tar: Path, verified: Verified) -> list[StoredFile]:
    """What cameras can download of a verified package: the package itself, and an image for swupdate if they are made here."""
    line, release = verified.manifest.line, verified.manifest.release
    package = files.store(services.blobs, tar, part=line, filename=tar.name, format=CameraFormat.PACKAGE)
    if services.swu is None:
        return [package]
    image = services.swu.make(tar, line=line, release=release, sha256=package.sha256)
    return [package, files.store(services.blobs, image, part=line, filename=image.name, format=CameraFormat.SWU)]


def _present(services: Services, name: str, version: str, digest: Digest) -> str | None:
    """Id of the same package if it is here. PackageDiffers if another one is."""
    with services.sessions.begin() as session:
        begin_reading(session)
        package = repository.find(session, name, version)
    if package is None:
        return None
    if package.digest != digest:
        told = f"{package.ref} is here with the manifest {package.digest}; this one has {digest}."
        raise PackageDiffers(told, here=package.digest, there=digest)
    return package.id


def _verified(tar: Path, found: PackageOut, client: "PicofleetClient") -> Verified:
    trusted = finding.keys(client)
    try:
        verified = verify(tar, trusted)
    except PackageError as exc:
        raise PackageRefused(f"{tar.name} cannot be used: {exc}.", file=exc.file or tar.name, hint=exc.hint) from exc
    manifest = verified.manifest
    if (manifest.line, manifest.release, verified.digest) != (found.line, found.release, found.manifest):
        told = f"{tar.name} holds {manifest.line}/{manifest.release}, manifest {verified.digest}, not {found.manifest}."
        hint = "The jobs service gave out another package than it said. Tell who runs it."
        raise PackageRefused(told, file="manifest.json", hint=hint)
    return verified


@contextmanager
def _stored(services: Services, tar: Path, verified: Verified) -> Iterator[Fetched]:
    """Its files are in the store for the block, and stay if a package has them at its end."""
    fetched = Fetched(verified, files_of_import(services, tar, verified))
    try:
        yield fetched
    finally:
        removing.remove_unused(services, {file.sha256 for file in fetched.files})


def _added(services: Services, fetched: Fetched, *, actor: Actor) -> tuple[str, bool]:
    manifest = fetched.verified.manifest
    try:
        with services.sessions.begin() as session:
            return _insert(session, services, fetched, actor=actor), True
    except IntegrityError as exc:
        if violated(exc) != _NAMED_ONCE:
            raise
    # Another import was quicker.
    present = _present(services, manifest.line, str(manifest.release), fetched.verified.digest)
    if present is None:
        raise PackageDiffers(f"{manifest.line}/{manifest.release} was imported and deleted at the same moment.")
    return present, False


def _insert(session: Session, services: Services, fetched: Fetched, *, actor: Actor) -> str:
    manifest = fetched.verified.manifest
    repository.hold_contents(session, [file.sha256 for file in fetched.files])
    package = Package(
        kind=FleetPackageKind.MODEL.value,
        name=manifest.line,
        version=str(manifest.release),
        release=manifest.release,
        digest=fetched.verified.digest,
        manifest=manifest.model_dump(mode="json"),
        key_id=fetched.verified.key_id,
        imported_by=actor.name,
    )
    session.add(package)
    session.flush()
    session.add_all(file.row(package.id) for file in fetched.files)
    files.restore(services.blobs, fetched.files)
    record(session, "package.imported", actor=actor, package=package.ref, digest=package.digest, key=package.key_id)
    log.info("packages.imported", package=package.ref, digest=package.digest)
    return package.id
