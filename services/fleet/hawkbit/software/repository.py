"""Queries of modules, artifacts, and the packages that are made of them."""

from collections.abc import Collection

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.hawkbit.messages import Window, page_of
from services.fleet.hawkbit.models import Artifact, DistributionSet, SetModule, SoftwareModule
from services.fleet.packages.models import Package, PackageFile
from services.fleet.rollouts.models import Rollout


def page(session: Session, window: Window) -> tuple[list[SoftwareModule], int]:
    """Modules that are there."""
    return page_of(session, select(SoftwareModule).where(SoftwareModule.deleted_at.is_(None)), SoftwareModule.id, window)


def locked(session: Session, module_id: int) -> SoftwareModule | None:
    """A module, deleted or not; whoever else changes it waits."""
    query = select(SoftwareModule).where(SoftwareModule.id == module_id).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def all_locked(session: Session, module_ids: Collection[int]) -> list[SoftwareModule]:
    """Those of these modules that are there, by id."""
    query = select(SoftwareModule).where(SoftwareModule.id.in_(module_ids), SoftwareModule.deleted_at.is_(None))
    return list(session.scalars(query.order_by(SoftwareModule.id).with_for_update()))


def artifacts(session: Session, module_id: int, window: Window) -> tuple[list[Artifact], int]:
    """Of a module."""
    return page_of(session, select(Artifact).where(Artifact.module_id == module_id), Artifact.id, window)


def all_artifacts(session: Session, module_ids: Collection[int]) -> list[Artifact]:
    """Of these modules."""
    return list(session.scalars(select(Artifact).where(Artifact.module_id.in_(module_ids)).order_by(Artifact.id)))


def artifact(session: Session, module_id: int, artifact_id: int) -> Artifact | None:
    """A module's."""
    return session.scalar(select(Artifact).where(Artifact.module_id == module_id, Artifact.id == artifact_id))


def packages_of(session: Session, module_id: int) -> list[Package]:
    """Of all sets that have the module and are there."""
    query = select(Package).join(DistributionSet, DistributionSet.package_id == Package.id)
    query = query.join(SetModule, SetModule.set_id == DistributionSet.id)
    return list(session.scalars(query.where(SetModule.module_id == module_id, Package.deleted_at.is_(None))))


def is_used(session: Session, package_ids: Collection[str]) -> bool:
    """Whether any camera was ever given one of these packages, or a rollout is to bring it."""
    given = exists().where(Action.package_id.in_(package_ids))
    planned = exists().where(Rollout.package_id.in_(package_ids))
    return bool(session.scalar(select(or_(given, planned))))


def drop_file(session: Session, package_ids: Collection[str], part: str, filename: str) -> None:
    """Take a file out of packages."""
    session.execute(
        delete(PackageFile).where(
            PackageFile.package_id.in_(package_ids), PackageFile.part == part, PackageFile.filename == filename
        )
    )
