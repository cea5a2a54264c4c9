"""Why a version cannot be served, and why a request is not."""

from shared.kit.problems import Problem, TooManyRequests


class Unusable(Exception):
    """A version that cannot be served. ``str()`` says why, ``hint`` what to do."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class EngineMissing(Unusable):
    """The engine is not installed here."""


class Damaged(Unusable):
    """A file of the version's is not what it should be. Another copy of it may be."""


class WrongDigest(Damaged):
    """The network's file is not the one that was registered."""


class WrongNetwork(Unusable):
    """The network's graph is not what the platform's models have, or it answers its golden windows otherwise."""


class Overloaded(TooManyRequests):
    """The deployment's queue is full."""

    title = "Too many requests in the queue"
    hint = "try again after the time in Retry-After, or add replicas"

    @property
    def headers(self) -> dict[str, str]:
        """When a place should be free, in whole seconds."""
        return {"Retry-After": str(self.members.get("retry_after_s", 1))}


class DeadlineExceeded(Problem):
    """The request waited longer than it may; nothing was computed."""

    status, title = 504, "Deadline exceeded"
    hint = "ask for a longer deadline_ms, or send fewer requests at a time"
