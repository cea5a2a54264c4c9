"""Whether an action whose turn has come is shown to its camera now."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from services.fleet.cameras.maintenance import is_open, next_opening
from services.fleet.cameras.selector import Selector, parse
from services.fleet.ddi import repository
from services.fleet.ddi.errors import NotOffered
from shared.contracts.cameras import MaintenanceWindow
from shared.kit.database import db_now

_parsed = lru_cache(maxsize=1024)(parse)


def check_offered(session: Session, camera_id: str, package_id: str | None) -> None:
    """Raise NotOffered for a pending action with this package: it is deleted or has nothing for the camera, or its group's
    maintenance window is closed.

    A camera of several groups that have windows waits until all of them are open.
    """
    labels, format_ = repository.labels_and_format(session, camera_id)
    if package_id is not None:
        _check_package(session, package_id, format_)
    opens_at = _opens_at(session, labels, db_now(session))
    if opens_at is not None:
        raise NotOffered("The camera's maintenance window is closed.", opens_at=opens_at)


def is_offered(session: Session, camera_id: str, package_id: str | None) -> bool:
    """As ``check_offered``."""
    try:
        check_offered(session, camera_id, package_id)
    except NotOffered:
        return False
    return True


def _check_package(session: Session, package_id: str, format_: str) -> None:
    package = repository.package(session, package_id)
    if package is None or package.deleted_at is not None:
        raise NotOffered("The package of this action was deleted.")
    if not repository.files(session, package_id, format_):
        raise NotOffered(f"The package has no file for cameras of the format {format_}.")


def _opens_at(session: Session, labels: Mapping[str, str], now: datetime) -> datetime | None:
    """None if no group keeps the camera waiting; else the earliest that all may be open."""
    latest = None
    for group in repository.groups(session):
        selector: Selector = _parsed(group.selector)
        if not group.maintenance or not selector.matches(labels):
            continue
        windows = [MaintenanceWindow.model_validate(window) for window in group.maintenance]
        if not is_open(windows, zone := ZoneInfo(group.time_zone), now):
            opening = next_opening(windows, zone, now)
            latest = max(latest, opening) if latest else opening
    return latest
