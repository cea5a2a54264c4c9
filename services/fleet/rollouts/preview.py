"""Who a rollout would hit if it started now."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.rollouts import repository
from services.fleet.rollouts.models import Rollout
from services.fleet.rollouts.planning import READ_AT_ONCE
from services.fleet.rollouts.sizing import rank_of, sizes
from shared.contracts.rollouts import PreviewOut, PreviewPhase, RolloutIn

EXAMPLES: Final = 5
"""Cameras that are named of each phase."""


class _Hit(NamedTuple):
    rank: int
    camera_id: str
    already: bool
    busy: bool


def preview(session: Session, rollout: Rollout) -> PreviewOut:
    """Counts the cameras of each phase, and names a few."""
    spec = RolloutIn.model_validate(rollout.spec)
    hits = sorted(_hits(session, rollout, spec))
    ends = sizes(spec.phases, len(hits))
    slices = [hits[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    names = _names(session, [hit.camera_id for each in slices for hit in each[:EXAMPLES]])
    return PreviewOut(
        cameras=ends[-1],
        already=sum(hit.already for hit in hits[: ends[-1]]),
        busy=sum(hit.busy for hit in hits[: ends[-1]]),
        phases=[
            PreviewPhase(number=number, cameras=len(each), examples=[names[hit.camera_id] for hit in each[:EXAMPLES]])
            for number, each in enumerate(slices, start=1)
        ],
    )


def _hits(session: Session, rollout: Rollout, spec: RolloutIn) -> Iterator[_Hit]:
    busy = exists().where(Action.camera_id == Camera.id, Action.active, Action.rollout_id.is_distinct_from(rollout.id))
    already = Camera.current_package_id.is_not_distinct_from(rollout.package_id)
    cursor = ""
    while True:
        query = select(Camera.id, already, busy).where(*repository.for_cameras(rollout, spec), Camera.id > cursor)
        rows = session.execute(query.order_by(Camera.id).limit(READ_AT_ONCE)).all()
        yield from (_Hit(rank_of(row[0], rollout.id), row[0], bool(row[1]), bool(row[2])) for row in rows)
        if len(rows) < READ_AT_ONCE:
            return
        cursor = rows[-1][0]


def _names(session: Session, camera_ids: Sequence[str]) -> dict[str, str]:
    query = select(Camera.id, Camera.controller_id).where(Camera.id.in_(camera_ids))
    return {camera_id: controller_id for camera_id, controller_id in session.execute(query)}
