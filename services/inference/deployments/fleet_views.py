"""Deployments on fleets as users see them: with what the fleet service says at that moment."""

from collections.abc import Mapping, Sequence

from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentOut, DeploymentRollout
from shared.contracts.rollouts import RolloutOut


def with_rollouts(services: Services, shown: Sequence[DeploymentOut]) -> list[DeploymentOut]:
    """The same with their rollouts as they stand. It asks the fleet service: not for transactions. Raises nothing of that."""
    wanted = [each.rollout.id for each in shown if each.rollout is not None and each.rollout.id is not None]
    if not wanted:
        return list(shown)
    found = services.rollouts.read(wanted)
    return [_completed(each, found) for each in shown]


def _completed(shown: DeploymentOut, found: Mapping[str, RolloutOut | str]) -> DeploymentOut:
    if shown.rollout is None or shown.rollout.id is None:
        return shown
    rollout = _as_it_stands(shown.rollout, found[shown.rollout.id])
    return shown.model_copy(update={"rollout": rollout, "ready": rollout.is_done})


def _as_it_stands(rollout: DeploymentRollout, found: RolloutOut | str) -> DeploymentRollout:
    if isinstance(found, str):
        return rollout.model_copy(update={"reason": found})
    fields = ("state", "reason", "cameras", "counts", "restores", "phases")
    return rollout.model_copy(update={name: getattr(found, name) for name in fields})
