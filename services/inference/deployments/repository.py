"""Every statement on the tables of deployments."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import CursorResult, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.inference.deployments.domain import AnyPlan, FleetPlan, Plan, Status, Wanted, WantedFleet
from services.inference.deployments.models import Deployment, Replica, ReplicaStatus, Revision
from shared.contracts.base import new_id
from shared.contracts.deployments import DeploymentIn, FleetTarget, ResolvedPart
from shared.kit.database import db_now, violated
from shared.kit.pages import PageParams, decode_cursor, encode_cursor
from shared.kit.problems import InvalidRequest

_SPEC: TypeAdapter[DeploymentIn] = TypeAdapter(DeploymentIn)


def find(session: Session, name: str) -> Deployment | None:
    """The deployment as it is now, or None."""
    return session.scalar(select(Deployment).where(Deployment.name == name).execution_options(populate_existing=True))


def locked(session: Session, name: str) -> Deployment | None:
    """The deployment with its row locked until the transaction ends."""
    query = select(Deployment).where(Deployment.name == name).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def all_of_them() -> Select[Deployment]:
    """The query of the list."""
    return select(Deployment)


def wanted(session: Session) -> list[Wanted]:
    """All deployments on CPUs at their newest generation."""
    return [
        Wanted(id=deployment.id, name=deployment.name, generation=deployment.generation, plan=plan)
        for deployment, plan in _newest(session)
        if isinstance(plan, Plan)
    ]


def wanted_fleets(session: Session) -> list[WantedFleet]:
    """All deployments on fleets at their newest generation."""
    return [
        WantedFleet(id=deployment.id, name=deployment.name, generation=deployment.generation, spec=plan.spec)
        for deployment, plan in _newest(session)
        if isinstance(plan, FleetPlan)
    ]


def _newest(session: Session) -> Iterator[tuple[Deployment, AnyPlan]]:
    query = select(Deployment, Revision).join(
        Revision, (Revision.deployment_id == Deployment.id) & (Revision.generation == Deployment.generation)
    )
    for deployment, revision in session.execute(query.order_by(Deployment.id)):
        yield deployment, plan_of(revision)


def plan_of(revision: Revision) -> AnyPlan:
    """What the row says."""
    spec = _SPEC.validate_python(revision.spec)
    if isinstance(spec, FleetTarget):
        return FleetPlan(spec=spec)
    return Plan(
        spec=spec,
        versions=tuple(ResolvedPart.model_validate(part) for part in revision.versions),
        shadow=ResolvedPart.model_validate(revision.shadow) if revision.shadow else None,
    )


def create(session: Session, name: str, plan: AnyPlan, *, by: str, reason: str) -> bool:
    """Make the deployment with its first generation; False if the name is taken, also when two ask at once."""
    identity = new_id()
    values = {"id": identity, "name": name, "generation": 1, "created_at": db_now(session)}
    try:
        with session.begin_nested():
            session.execute(insert(Deployment).values(values))
    except IntegrityError as exc:
        if violated(exc) != ("deployments", ("name",)):
            raise
        return False
    _add_revision(session, identity, 1, plan, by=by, reason=reason)
    return True


def advance(session: Session, deployment_id: str, generation: int, plan: AnyPlan, *, by: str, reason: str) -> bool:
    """From ``generation`` to the next; False if the deployment is not there (any more), so that no change is lost."""
    taken = update(Deployment).where(Deployment.id == deployment_id, Deployment.generation == generation)
    moved = session.execute(taken.values(generation=generation + 1).execution_options(synchronize_session=False))
    assert isinstance(moved, CursorResult)
    if moved.rowcount != 1:
        return False
    _add_revision(session, deployment_id, generation + 1, plan, by=by, reason=reason)
    return True


def _add_revision(session: Session, deployment_id: str, generation: int, plan: AnyPlan, *, by: str, reason: str) -> None:
    row = {"deployment_id": deployment_id, "generation": generation, "created_by": by, "reason": reason}
    session.execute(insert(Revision).values(**row, **plan.columns(), created_at=db_now(session)))


def remove(session: Session, deployment_id: str) -> None:
    """Delete the deployment with all that belongs to it."""
    session.execute(delete(Deployment).where(Deployment.id == deployment_id))


def revision(session: Session, deployment_id: str, generation: int) -> Revision | None:
    """One generation, or None."""
    return session.get(Revision, (deployment_id, generation))


def newest_revisions(session: Session, deployments: Iterable[Deployment]) -> dict[str, Revision]:
    """The revision that each deployment is at, by id."""
    query = (
        select(Revision)
        .join(Deployment, (Deployment.id == Revision.deployment_id) & (Deployment.generation == Revision.generation))
        .where(Deployment.id.in_([deployment.id for deployment in deployments]))
    )
    return {revision.deployment_id: revision for revision in session.scalars(query)}


def revisions(session: Session, deployment_id: str, page: PageParams) -> tuple[Sequence[Revision], str | None]:
    """One page of generations, newest first."""
    query = select(Revision).where(Revision.deployment_id == deployment_id)
    if page.cursor is not None:
        query = query.where(Revision.generation < _generation(page.cursor))
    rows = session.scalars(query.order_by(Revision.generation.desc()).limit(page.limit + 1)).all()
    shown = rows[: page.limit]
    return shown, encode_cursor(shown[-1].generation) if len(rows) > page.limit else None


def _generation(cursor: str) -> int:
    (generation,) = decode_cursor(cursor)
    if not isinstance(generation, int) or not 0 <= generation < 2**31:
        raise InvalidRequest.of_field("query.cursor", "not a cursor of this list", "leave it out to start at the first page")
    return generation


# What the replicas make of it


def heard(session: Session, replica: str) -> None:
    """Note that this process is alive."""
    now = db_now(session)
    if not _changed(session, update(Replica).where(Replica.name == replica).values(seen_at=now)):
        _insert_unless_there(session, insert(Replica).values(name=replica, seen_at=now))


def report(session: Session, deployment_id: str, replica: str, status: Status) -> None:
    """Note what this process does for a deployment; nothing if it was deleted meanwhile."""
    values = {name: getattr(status, name) for name in ("target", "generation", "error")} | {"state": status.state.value}
    mine = (ReplicaStatus.deployment_id == deployment_id) & (ReplicaStatus.replica == replica)
    if not _changed(session, update(ReplicaStatus).where(mine).values(values)):
        _insert_unless_there(session, insert(ReplicaStatus).values(deployment_id=deployment_id, replica=replica, **values))


def _changed(session: Session, statement: Any) -> bool:
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount > 0


def _insert_unless_there(session: Session, statement: Any) -> None:
    try:
        with session.begin_nested():
            session.execute(statement)
    except IntegrityError:
        return  # another thread of this process was quicker, or the deployment is gone


def leave(session: Session, replica: str) -> None:
    """This process goes down."""
    session.execute(delete(Replica).where(Replica.name == replica))


def forget_replicas(session: Session, unseen: timedelta) -> None:
    """Delete processes that were not heard of for so long."""
    session.execute(delete(Replica).where(Replica.seen_at < db_now(session) - unseen))


def living(session: Session, since: datetime) -> dict[str, datetime]:
    """When each replica was heard of that is alive."""
    query = select(Replica.name, Replica.seen_at).where(Replica.seen_at >= since).order_by(Replica.name)
    return {name: seen_at for name, seen_at in session.execute(query)}


def statuses(session: Session, deployments: Iterable[Deployment]) -> dict[str, dict[str, ReplicaStatus]]:
    """By deployment and replica."""
    ids = [deployment.id for deployment in deployments]
    query = select(ReplicaStatus).where(ReplicaStatus.deployment_id.in_(ids)).execution_options(populate_existing=True)
    found: defaultdict[str, dict[str, ReplicaStatus]] = defaultdict(dict)
    for status in session.scalars(query):
        found[status.deployment_id][status.replica] = status
    return found
