"""What the sweep routes may refuse, and why.

NotFound
└── SweepNotFound
Conflict
└── SweepNotCancellable
"""

from shared.kit.problems import Conflict, NotFound


class SweepNotFound(NotFound):
    """There is no sweep with this id."""

    title = "No such sweep"
    hint = "`GET /v1/sweeps` lists the sweeps"


class SweepNotCancellable(Conflict):
    """The sweep has already succeeded or failed."""

    title = "The sweep is over"
    hint = "nothing is left to cancel; see its best trial, or its error"
