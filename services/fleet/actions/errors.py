"""What the routes of actions may refuse."""

from shared.kit.problems import NotFound


class ActionNotFound(NotFound):
    """There is no action with this id."""

    title = "No such action"
    hint = "`GET /v1/fleet/rollouts/{id}/actions` lists those of a rollout"
