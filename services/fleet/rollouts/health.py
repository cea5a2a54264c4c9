"""Whether a camera does well with what it runs: judged by every telemetry it sends."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move
from services.fleet.cameras.models import Camera
from services.fleet.events.record import record
from services.fleet.packages.models import Package
from services.fleet.rollouts.models import Rollout, RolloutPhase
from shared.contracts.cameras import GoldenCheck, HealthState, Telemetry
from shared.contracts.rollouts import ActionKind, ActionState, HealthCriteria, PhaseState
from shared.kit.database import db_now


def judge(session: Session, camera: Camera, telemetry: Telemetry) -> None:
    """Note the camera's health; if it violates its rollout's criteria while its phase soaks, it is a failure.

    The criteria are those of the rollout that brought what the camera runs, else the default ones.
    """
    action = _newest(session, camera.id)
    rollout = session.get(Rollout, action.rollout_id) if action and action.rollout_id else None
    criteria = HealthCriteria.model_validate(rollout.spec["health"]) if rollout else HealthCriteria()
    reason = violation(criteria, telemetry, installed=_installed(session, camera))
    _note(session, camera, reason)
    if reason and action and rollout and _on_probation(session, action, rollout):
        move(session, action.id, ActionState.FAILED, expected={ActionState.RUNNING}, message=f"health: {reason}")


def violation(criteria: HealthCriteria, telemetry: Telemetry, *, installed: str | None) -> str:
    """The first thing that is wrong, in words; empty if nothing is. ``installed``: line/release, None where it is unknown."""
    if telemetry.package is not None and installed is not None and telemetry.package != installed:
        return f"runs {telemetry.package}, not {installed}"
    if criteria.golden and telemetry.golden is GoldenCheck.FAILED:
        return "the golden frames fail"
    missing, wanted, limit = (
        telemetry.missing_frames,
        telemetry.frames + telemetry.missing_frames,
        criteria.max_missing_frame_percent,
    )
    if limit is not None and missing * 100 > limit * wanted:
        return f"{missing} of {wanted} frames missing, limit {limit:g} %"
    if criteria.max_dnn_ms is not None and telemetry.dnn_ms is not None and telemetry.dnn_ms > criteria.max_dnn_ms:
        return f"dnn {telemetry.dnn_ms:.1f} ms, limit {criteria.max_dnn_ms:g}"
    if criteria.max_restarts is not None and telemetry.restarts > criteria.max_restarts:
        return f"{telemetry.restarts} restarts, limit {criteria.max_restarts}"
    return ""


def _newest(session: Session, camera_id: str) -> Action | None:
    """What the camera had to do last; what it was not told of yet is left out."""
    told = select(Action).where(Action.camera_id == camera_id, Action.state != ActionState.PENDING)
    return session.scalar(told.order_by(Action.id.desc()).limit(1).execution_options(populate_existing=True))


def _installed(session: Session, camera: Camera) -> str | None:
    package = session.get(Package, camera.current_package_id) if camera.current_package_id else None
    return package.ref if package else None


def _note(session: Session, camera: Camera, reason: str) -> None:
    state = HealthState.BAD if reason else HealthState.OK
    if (camera.health, camera.health_reason) == (state, reason):
        return
    if camera.health != state and HealthState.BAD in {camera.health, state}:
        record(session, f"camera.{state.value}", camera_id=camera.id, reason=reason)
    camera.health, camera.health_reason = state.value, reason


def _on_probation(session: Session, action: Action, rollout: Rollout) -> bool:
    """The camera runs what the rollout brought, and has not outlived the soak yet."""
    if action.state != ActionState.RUNNING or action.kind != ActionKind.INSTALL or action.phase is None:
        return False
    phase = session.get(RolloutPhase, (rollout.id, action.phase), populate_existing=True)
    if phase is None or phase.state != PhaseState.DONE or phase.ended_at is None or action.succeeded_at is None:
        return True
    soak_s: float = rollout.spec["phases"][action.phase - 1]["soak_s"]
    age_s = (db_now(session) - action.succeeded_at).total_seconds()
    return action.succeeded_at > phase.ended_at and age_s < soak_s
