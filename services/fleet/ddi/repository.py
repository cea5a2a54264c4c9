"""Every SELECT of the device API."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Engine, Row, Select, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.cameras.models import Camera, Group, ProvisioningToken
from services.fleet.packages.models import ANY_FORMAT, Package, PackageFile, Statement
from services.fleet.rollouts.models import Rollout, Sample
from shared.contracts.rollouts import ActionState, RolloutState
from shared.kit.database import read_once

_RESTLESS: Final = (RolloutState.RUNNING.value, RolloutState.ROLLING_BACK.value)


def _poll_query() -> Select[Any]:
    """Of tables, not of classes, and made once: a poll costs a third less than through the ORM."""
    camera, active, rollout = Camera.__table__.c, Action.__table__.alias().c, Rollout.__table__.c
    mine = Action.__table__.alias().c
    installed = select(func.max(mine.id)).where(mine.camera_id == camera.id, mine.succeeded_at.is_not(None))
    # Not IN, whose parameters SQLAlchemy would write into the statement anew for each poll.
    restless = exists().where(
        mine.camera_id == camera.id, rollout.id == mine.rollout_id, or_(*(rollout.state == state for state in _RESTLESS))
    )
    columns = (
        camera.id,
        camera.controller_id,
        camera.token_hash,
        camera.provisioned_by,
        camera.attributes_wanted,
        active.id.label("action_id"),
        active.state,
        active.package_id,
        active.forced,
        active.cancel_requested_at,
        installed.correlate(Camera.__table__).scalar_subquery().label("installed_id"),
        restless.correlate(Camera.__table__).label("restless"),
    )
    joined = Camera.__table__.outerjoin(active.id.table, (active.camera_id == camera.id) & active.active)
    wanted = (camera.controller_id.in_(bindparam("controller_ids", expanding=True)), camera.deleted_at.is_(None))
    return select(*columns).select_from(joined).where(*wanted)


_POLL: Final = _poll_query()


def poll_row(engine: Engine, controller_id: str) -> Row[Any] | None:
    """All that a poll's answer depends on, but for whether a pending action may be offered: one statement."""
    return poll_rows(engine, [controller_id]).get(controller_id)


def poll_rows(engine: Engine, controller_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """As ``poll_row``, by controller id, for several."""
    # A number of parameters that is a power of two, so that there are few statements and the driver has them all prepared.
    size = 1 << (len(controller_ids) - 1).bit_length()
    padded = [*controller_ids, *(controller_ids[-1] for _ in range(size - len(controller_ids)))]
    with read_once(engine) as connection:
        return {row.controller_id: row for row in connection.execute(_POLL, {"controller_ids": padded})}


def camera_by_controller(session: Session, controller_id: str) -> Camera | None:
    """One that is not deleted."""
    return session.scalar(select(Camera).where(Camera.controller_id == controller_id, Camera.deleted_at.is_(None)))


def provisioning_token(session: Session, token_hash: str) -> ProvisioningToken | None:
    """One that is not revoked."""
    query = select(ProvisioningToken)
    return session.scalar(query.where(ProvisioningToken.token_hash == token_hash, ProvisioningToken.revoked_at.is_(None)))


def action_of(session: Session, camera_id: str, action_id: int) -> Action | None:
    """One whose turn has come, of this camera."""
    query = select(Action).where(Action.id == action_id, Action.camera_id == camera_id, Action.released_at.is_not(None))
    # Its state may have been changed by a statement of this session that went past the ORM.
    return session.scalar(query, execution_options={"populate_existing": True})


def labels_and_format(session: Session, camera_id: str) -> Row[dict[str, str], str]:
    """Of a camera."""
    return session.execute(select(Camera.labels, Camera.format).where(Camera.id == camera_id)).one()


def groups(session: Session) -> Sequence[Group]:
    """All there are."""
    return session.scalars(select(Group)).all()


def package(session: Session, package_id: str) -> Package | None:
    """Deleted ones too."""
    return session.get(Package, package_id)


def package_by_ref(session: Session, ref: str) -> Package | None:
    """The newest of that name, deleted or not."""
    name, _, version = ref.rpartition("/")
    query = select(Package).where(Package.name == name, Package.version == version).order_by(Package.id.desc())
    return session.scalars(query.limit(1)).first()


def files(session: Session, package_id: str, format_: str) -> Sequence[PackageFile]:
    """Those of a package that a camera of this format gets."""
    query = select(PackageFile).where(PackageFile.package_id == package_id, PackageFile.format.in_((format_, ANY_FORMAT)))
    return session.scalars(query.order_by(PackageFile.part, PackageFile.filename)).all()


def statement(session: Session, line: str, to_release: int) -> Statement | None:
    """The one that takes back the most."""
    query = select(Statement).where(Statement.line == line, Statement.to_release == to_release)
    return session.scalars(query.order_by(Statement.from_release.desc()).limit(1)).first()


def history(session: Session, action_id: int) -> Sequence[ActionHistory]:
    """Newest first."""
    query = select(ActionHistory).where(ActionHistory.action_id == action_id)
    return session.scalars(query.order_by(ActionHistory.id.desc())).all()


def history_length(session: Session, action_id: int) -> int:
    """In rows."""
    return session.scalar(select(func.count()).where(ActionHistory.action_id == action_id)) or 0


def last_words(session: Session, action_id: int) -> ActionHistory | None:
    """The newest row of its history."""
    query = select(ActionHistory).where(ActionHistory.action_id == action_id)
    return session.scalars(query.order_by(ActionHistory.id.desc()).limit(1)).first()


def may_download(session: Session, camera_id: str, package_id: str) -> bool:
    """Whether an action of the camera, whose turn has come, is or was about this package."""
    named = select(Action.id).where(
        Action.camera_id == camera_id, Action.package_id == package_id, Action.released_at.is_not(None)
    )
    return session.scalars(named.limit(1)).first() is not None


def sampled_action(session: Session, camera_id: str, ref: str) -> Action | None:
    """The camera's newest one that brought it the package of this name and did not end badly."""
    name, _, version = ref.rpartition("/")
    states = (ActionState.RUNNING.value, ActionState.SELF_TESTING.value)
    query = select(Action).join(Package, Package.id == Action.package_id)
    query = query.where(
        Action.camera_id == camera_id, Action.state.in_(states), Package.name == name, Package.version == version
    )
    return session.scalars(query.order_by(Action.id.desc()).limit(1)).first()


def samples_since(session: Session, camera_id: str, since: datetime) -> Sequence[datetime]:
    """When the camera's samples came, oldest first."""
    query = select(Sample.received_at).where(Sample.camera_id == camera_id, Sample.received_at > since)
    return session.scalars(query.order_by(Sample.received_at)).all()
