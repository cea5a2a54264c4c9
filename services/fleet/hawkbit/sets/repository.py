"""Queries of distribution sets."""

from collections import defaultdict
from collections.abc import Collection, Mapping

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.hawkbit.messages import Window, page_of
from services.fleet.hawkbit.models import DistributionSet, SetModule, SoftwareModule
from services.fleet.packages.models import Package, PackageFile
from services.fleet.rollouts.domain import OVER
from services.fleet.rollouts.models import Rollout

Found = tuple[DistributionSet, Package]


def find(session: Session, set_id: int) -> Found | None:
    """A set that is there, with its package."""
    query = select(DistributionSet, Package).join(Package, Package.id == DistributionSet.package_id)
    row = session.execute(query.where(DistributionSet.id == set_id, Package.deleted_at.is_(None))).one_or_none()
    return None if row is None else (row[0], row[1])


def page(session: Session, window: Window) -> tuple[list[Found], int]:
    """Sets that are there."""
    query = select(DistributionSet).join(Package, Package.id == DistributionSet.package_id)
    found, total = page_of(session, query.where(Package.deleted_at.is_(None)), DistributionSet.id, window)
    packages = {each.id: each for each in session.scalars(select(Package).where(Package.id.in_([s.package_id for s in found])))}
    return [(each, packages[each.package_id]) for each in found], total


def modules_of(session: Session, set_ids: Collection[int]) -> Mapping[int, list[SoftwareModule]]:
    """By set."""
    query = select(SetModule.set_id, SoftwareModule).join(SoftwareModule, SoftwareModule.id == SetModule.module_id)
    found: dict[int, list[SoftwareModule]] = defaultdict(list)
    for set_id, module in session.execute(query.where(SetModule.set_id.in_(set_ids)).order_by(SoftwareModule.id)):
        found[set_id].append(module)
    return found


def has_files(session: Session, package_id: str) -> bool:
    """Whether there is anything to install."""
    return bool(session.scalar(select(exists().where(PackageFile.package_id == package_id))))


def is_being_installed(session: Session, package_id: str) -> bool:
    """Whether a camera is at it now, or a rollout that is not over brings it."""
    at_it = exists().where(Action.package_id == package_id, Action.active)
    planned = exists().where(Rollout.package_id == package_id, Rollout.state.not_in(OVER))
    return bool(session.scalar(select(or_(at_it, planned))))
