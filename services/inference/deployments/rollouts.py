"""Every statement on what was asked of the fleet service for deployments."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, CursorResult, Update, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.inference.deployments.domain import Numbered, RolloutStep, rollout_name
from services.inference.deployments.models import Deployment, DeploymentRollout

_OPEN: Final = DeploymentRollout.step != RolloutStep.OVER


def of_newest(session: Session, deployments: Iterable[Deployment]) -> dict[str, DeploymentRollout]:
    """By deployment id: the row of the generation that it is at, where there is one."""
    numbers = {deployment.id: deployment.generation for deployment in deployments}
    query = select(DeploymentRollout).where(DeploymentRollout.deployment_id.in_(numbers))
    rows = session.scalars(query.execution_options(populate_existing=True))
    return {row.deployment_id: row for row in rows if numbers[row.deployment_id] == row.generation}


def find(session: Session, deployment_id: str, generation: int) -> DeploymentRollout | None:
    """One generation's, or None."""
    return session.get(DeploymentRollout, (deployment_id, generation), populate_existing=True)


def superseded(session: Session, wanted: Numbered) -> Sequence[DeploymentRollout]:
    """Those of the deployment's older generations of which something may go on."""
    query = select(DeploymentRollout).where(DeploymentRollout.deployment_id == wanted.id, _OPEN)
    return session.scalars(query.where(DeploymentRollout.generation < wanted.generation)).all()


def begun_alone(session: Session) -> set[tuple[str, int]]:
    """Deployment and generation where the fleet service knows all that it has to: of that deployment nothing else is open."""
    open_ones: defaultdict[str, list[DeploymentRollout]] = defaultdict(list)
    for row in session.scalars(select(DeploymentRollout).where(_OPEN)):
        open_ones[row.deployment_id].append(row)
    alone = [rows[0] for rows in open_ones.values() if len(rows) == 1]
    return {(row.deployment_id, row.generation) for row in alone if row.step == RolloutStep.BEGUN}


def orphans(session: Session) -> Sequence[DeploymentRollout]:
    """Those of deployments that were deleted."""
    there = select(Deployment.id).where(Deployment.id == DeploymentRollout.deployment_id)
    return session.scalars(select(DeploymentRollout).where(~there.exists())).all()


def add(session: Session, wanted: Numbered, *, rollout_id: str | None) -> bool:
    """Note that a rollout is about to be made or, with ``rollout_id``, to be rolled back; False if that is noted already."""
    values = {"deployment_id": wanted.id, "generation": wanted.generation, "name": rollout_name(wanted)}
    values |= {"rollout_id": rollout_id, "returns": rollout_id is not None, "step": RolloutStep.MAKING.value}
    try:
        with session.begin_nested():
            session.execute(insert(DeploymentRollout).values(values))
    except IntegrityError:
        return False  # another replica was quicker
    return True


def made(session: Session, row: DeploymentRollout, rollout_id: str) -> bool:
    """Note the id of the rollout; False if the row is gone or over, so that nobody would stop the rollout."""
    mine = update(DeploymentRollout).where(*_is(row), DeploymentRollout.step == RolloutStep.MAKING)
    return _changed(session, mine.values(rollout_id=rollout_id))


def to_step(session: Session, row: DeploymentRollout, step: RolloutStep) -> bool:
    """From the row's step to this one; False if it is at another, or gone."""
    mine = update(DeploymentRollout).where(*_is(row), DeploymentRollout.step == row.step)
    return _changed(session, mine.values(step=step.value, error=None))


def failed(session: Session, wanted: Numbered, error: str) -> None:
    """Note why the generation's rollout has not begun; nothing if it has meanwhile."""
    mine = update(DeploymentRollout).where(
        DeploymentRollout.deployment_id == wanted.id,
        DeploymentRollout.generation == wanted.generation,
        DeploymentRollout.step == RolloutStep.MAKING,
    )
    _changed(session, mine.values(error=error))


def remove(session: Session, row: DeploymentRollout) -> None:
    """Forget it."""
    session.execute(delete(DeploymentRollout).where(*_is(row)))


def _is(row: DeploymentRollout) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return DeploymentRollout.deployment_id == row.deployment_id, DeploymentRollout.generation == row.generation


def _changed(session: Session, statement: Update) -> bool:
    result = session.execute(statement.execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    return result.rowcount > 0
