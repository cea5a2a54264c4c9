"""What the routes of rollouts may refuse, and why.

NotFound
├── RolloutNotFound
└── ActionNotFound (services.fleet.actions.errors)
Conflict
└── RolloutElsewhere
"""

from shared.kit.problems import Conflict, NotFound


class RolloutNotFound(NotFound):
    """There is no rollout with this id."""

    title = "No such rollout"
    hint = "`GET /v1/fleet/rollouts` lists those there are"


class RolloutElsewhere(Conflict):
    """The rollout is in a state in which that cannot be done. ``state`` and ``possible`` are members."""

    title = "Not possible in this state"
