"""Every statement on the tables of packages."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Select, func, or_, select, text
from sqlalchemy.orm import Session

from services.fleet.actions.domain import UNDER_WAY
from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.hawkbit.models import Artifact
from services.fleet.packages.models import Package, PackageFile
from services.fleet.rollouts.domain import OVER
from services.fleet.rollouts.models import Rollout
from shared.contracts.rollouts import FleetPackageKind

_OPEN = tuple(state.value for state in UNDER_WAY)


def find(session: Session, name: str, version: str) -> Package | None:
    """The package that is called so and was not deleted."""
    return session.scalar(_called(name, version))


def locked(session: Session, name: str, version: str) -> Package | None:
    """As ``find``; nobody else changes its row until the transaction ends."""
    query = _called(name, version).with_for_update(key_share=True)
    return session.scalar(query.execution_options(populate_existing=True))


def _called(name: str, version: str) -> Select[Package]:
    return select(Package).where(Package.name == name, Package.version == version, Package.deleted_at.is_(None))


def listed(name: str | None, kind: FleetPackageKind | None) -> Select[Package]:
    """The query of the packages that were not deleted."""
    query = select(Package).where(Package.deleted_at.is_(None))
    if name is not None:
        query = query.where(Package.name == name)
    return query if kind is None else query.where(Package.kind == kind.value)


def files(session: Session, package_ids: Iterable[str]) -> dict[str, list[PackageFile]]:
    """The files of these packages, by package."""
    found: dict[str, list[PackageFile]] = {package_id: [] for package_id in package_ids}
    query = select(PackageFile).where(PackageFile.package_id.in_(found)).order_by(PackageFile.part, PackageFile.filename)
    for file in session.scalars(query):
        found[file.package_id].append(file)
    return found


def rollouts_with(session: Session, package_id: str) -> Sequence[Rollout]:
    """Rollouts of the package that are not over."""
    query = select(Rollout).where(Rollout.package_id == package_id, Rollout.state.not_in(OVER))
    return session.scalars(query.order_by(Rollout.id)).all()


def cameras_with(session: Session, package_id: str) -> int:
    """How many cameras run it, return to it, or are about to install it."""
    installing = select(Action.camera_id).where(Action.package_id == package_id, Action.state.in_(_OPEN))
    needing = or_(Camera.current_package_id == package_id, Camera.last_good_package_id == package_id, Camera.id.in_(installing))
    query = select(func.count()).select_from(Camera).where(Camera.deleted_at.is_(None), needing)
    return session.scalar(query) or 0


def cameras_offered(session: Session, package_id: str) -> Sequence[str]:
    """Cameras that are at an action with the package now."""
    return session.scalars(select(Action.camera_id).where(Action.active, Action.package_id == package_id)).all()


def hold_contents(session: Session, contents: Iterable[str]) -> None:
    """Of those who add and remove files with these sha256, one at a time, until the transaction ends.

    On SQLite every transaction that may write is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        for content in sorted(contents):
            number = int(content[:16], 16) - (1 << 63)  # the locks' names are signed numbers of 64 bits
            session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def unused(session: Session, contents: Iterable[str]) -> set[str]:
    """Which of these contents no package has that was not deleted, nor a module that packages are made of."""
    wanted = set(contents)
    living = select(PackageFile.sha256).join(Package, Package.id == PackageFile.package_id)
    needed = session.scalars(living.where(PackageFile.sha256.in_(wanted), Package.deleted_at.is_(None)))
    uploaded = session.scalars(select(Artifact.sha256).where(Artifact.sha256.in_(wanted)))
    return wanted.difference(needed, uploaded)


def deleted_contents(session: Session, since: datetime) -> set[str]:
    """The sha256 of files of packages that were deleted since."""
    query = select(PackageFile.sha256).join(Package, Package.id == PackageFile.package_id)
    return set(session.scalars(query.where(Package.deleted_at >= since)))
