"""Removing packages, and their bytes once no package has them."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from services.fleet.events.record import record
from services.fleet.packages import repository
from services.fleet.packages.errors import FleetPackageNotFound, PackageInUse
from services.fleet.packages.models import Package
from services.fleet.polling.epochs import touch
from services.fleet.runtime import Services
from shared.kit.auth import Actor
from shared.kit.database import db_now

_LOOKED_BACK: Final = timedelta(days=1)


def delete(services: Services, name: str, version: str, *, force: bool, actor: Actor) -> None:
    """Offer it no more, and remove the bytes that nothing else needs. FleetPackageNotFound; PackageInUse unless ``force``."""
    with services.sessions.begin() as session:
        contents = _mark(session, name, version, force=force, actor=actor)
    remove_unused(services, contents)


def _mark(session: Session, name: str, version: str, *, force: bool, actor: Actor) -> set[str]:
    package = repository.locked(session, name, version)
    if package is None:
        raise FleetPackageNotFound(f"There is no package {name}/{version}.")
    if not force:
        _check_unneeded(session, package)
    package.deleted_at = db_now(session)
    touch(session, repository.cameras_offered(session, package.id))
    record(session, "package.deleted", actor=actor, package=package.ref, digest=package.digest, forced=force)
    return {file.sha256 for file in repository.files(session, [package.id])[package.id]}


def _check_unneeded(session: Session, package: Package) -> None:
    rollouts = repository.rollouts_with(session, package.id)
    cameras = repository.cameras_with(session, package.id)
    if rollouts or cameras:
        told = f"{package.ref} is needed by {len(rollouts)} rollouts that are not over and by {cameras} cameras."
        raise PackageInUse(told, rollouts=[rollout.id for rollout in rollouts[:20]], cameras=cameras)


def remove_unused(services: Services, contents: Iterable[str]) -> None:
    """Remove the blobs of these sha256 that no package has any more."""
    with services.sessions.begin() as session:
        wanted = set(contents)
        repository.hold_contents(session, wanted)
        services.blobs.delete_all(f"sha256:{content}" for content in repository.unused(session, wanted))


def remove_forgotten(services: Services) -> None:
    """Remove what a process that was killed between the two steps of ``delete`` has left."""
    with services.sessions.begin() as session:
        contents = repository.deleted_contents(session, db_now(session) - _LOOKED_BACK)
    remove_unused(services, contents)
