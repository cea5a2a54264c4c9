"""New rollouts: everything that they name must be there."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera, Group
from services.fleet.cameras.selector import SelectorInvalid, parse
from services.fleet.events.record import record
from services.fleet.packages.models import Package
from services.fleet.rollouts.models import Rollout, RolloutPhase
from shared.contracts.base import new_id
from shared.contracts.rollouts import CloneIn, PhaseState, RolloutIn, RolloutState
from shared.kit.auth import Actor
from shared.kit.problems import InvalidRequest


def create(
    session: Session, body: RolloutIn, *, actor: Actor, selector: str | None = None, origin: str | None = None
) -> Rollout:
    """Make a draft. ``selector``: whom it is for where that was found out before. InvalidRequest names the field."""
    package = package_named(session, body.package)
    rollout = Rollout(
        id=new_id(),
        name=body.name,
        package_id=package.id,
        spec=body.model_dump(mode="json"),
        selector=selector if selector is not None else _selector(session, body),
        state=RolloutState.DRAFT.value,
        priority=body.priority,
        budget={},
        created_by=actor.name,
    )
    session.add(rollout)
    session.flush()
    numbers = range(1, len(body.phases) + 1)
    session.add_all(RolloutPhase(rollout_id=rollout.id, number=number, state=PhaseState.WAITING.value) for number in numbers)
    cloned = {"of": origin} if origin else {}
    record(
        session,
        "rollout.cloned" if origin else "rollout.created",
        actor=actor,
        rollout_id=rollout.id,
        name=body.name,
        package=body.package,
        **cloned,
    )
    session.flush()
    return rollout


def clone(session: Session, rollout: Rollout, body: CloneIn, *, actor: Actor) -> Rollout:
    """A draft as ``rollout`` was, maybe of another package; for the cameras that its selector has now."""
    spec = RolloutIn.model_validate(rollout.spec)
    package = body.package or spec.package
    changed = spec.model_copy(update={"name": body.name, "package": package, "start": False})
    return create(session, changed, actor=actor, selector=rollout.selector, origin=rollout.id)


def package_named(session: Session, ref: str) -> Package:
    """A package that can be rolled out. InvalidRequest."""
    name, _, version = ref.rpartition("/")
    found = session.scalar(
        select(Package).where(Package.name == name, Package.version == version, Package.deleted_at.is_(None))
    )
    if found is None:
        hint = "import it with POST /v1/fleet/packages; GET /v1/fleet/packages lists those there are"
        raise InvalidRequest.of_field("body.package", f"there is no package {ref}", hint)
    return found


def _selector(session: Session, body: RolloutIn) -> str | None:
    if body.cameras is not None:
        _check_cameras(session, body.cameras)
        return None
    if body.group is not None:
        group = session.get(Group, body.group)
        if group is None:
            hint = "GET /v1/fleet/groups lists those there are"
            raise InvalidRequest.of_field("body.group", f"there is no group {body.group}", hint)
        return group.selector
    try:
        return str(parse(body.selector or ""))
    except SelectorInvalid as exc:
        raise InvalidRequest.of_field("body.selector", str(exc), "as `site=berlin,model in (a,b),!old`") from exc


_AT_ONCE: Final = 1000


def _check_cameras(session: Session, ids: Sequence[str]) -> None:
    known: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        known |= set(session.scalars(select(Camera.id).where(Camera.id.in_(some), Camera.deleted_at.is_(None))))
    for index, camera_id in enumerate(ids):
        if camera_id not in known:
            hint = "ids are those of GET /v1/fleet/cameras"
            raise InvalidRequest.of_field(f"body.cameras.{index}", f"there is no camera {camera_id[:80]!r}", hint)
