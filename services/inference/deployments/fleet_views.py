"""Deployments on fleets as users see them: with what the fleet service says at that moment."""

from collections.abc import Callable, Sequence
from typing import Final

from services.inference.runtime import Services
from shared.client.errors import ClientError, NotReachable
from shared.contracts.deployments import DeploymentOut, DeploymentRollout
from shared.contracts.rollouts import RolloutOut

TIMEOUT_S: Final = 2.0
"""So long somebody who looks at deployments waits for the fleet service; then the rollouts' states are unknown."""


def with_rollouts(services: Services, shown: Sequence[DeploymentOut]) -> list[DeploymentOut]:
    """The same with their rollouts as they stand. It asks the fleet service: not for transactions. Raises nothing of that."""
    wanted = [each.rollout.id for each in shown if each.rollout is not None and each.rollout.id is not None]
    if not wanted:
        return list(shown)
    found = _asked(services, wanted)
    return [_completed(each, found) for each in shown]


def _asked(services: Services, rollout_ids: Sequence[str]) -> dict[str, RolloutOut | str]:
    """By id: the rollout, or why it is unknown. Who does not answer once is not asked again."""
    found: dict[str, RolloutOut | str] = {}
    try:
        with services.fleet(timeout_s=TIMEOUT_S) as client:
            for rollout_id in rollout_ids:
                found[rollout_id] = _one(client.fleet.rollouts.get, rollout_id)
    except (NotReachable, OSError) as exc:  # OSError: the key's file
        why = f"The fleet service cannot be asked: {exc}"
        return dict.fromkeys(rollout_ids, why) | found
    return found


def _one(get: Callable[[str], RolloutOut], rollout_id: str) -> RolloutOut | str:
    try:
        return get(rollout_id)
    except NotReachable:
        raise
    except ClientError as exc:
        return f"The fleet service says: {exc}"


def _completed(shown: DeploymentOut, found: dict[str, RolloutOut | str]) -> DeploymentOut:
    if shown.rollout is None or shown.rollout.id is None:
        return shown
    rollout = _as_it_stands(shown.rollout, found[shown.rollout.id])
    return shown.model_copy(update={"rollout": rollout, "ready": rollout.is_done})


def _as_it_stands(rollout: DeploymentRollout, found: RolloutOut | str) -> DeploymentRollout:
    if isinstance(found, str):
        return rollout.model_copy(update={"reason": found})
    fields = ("state", "reason", "cameras", "counts", "restores", "phases")
    return rollout.model_copy(update={name: getattr(found, name) for name in fields})
