"""What may go wrong on the client's side of the wire, each with a message and a hint for a person."""

from shared.contracts.problems import ProblemDetails


class ClientError(Exception):
    """Base of all. ``hint`` says what to do next; empty where nothing sensible can be said."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class NotReachable(ClientError):
    """Nobody answers under the URL, or the answer broke off and stayed broken over all retries."""


class ProblemError(ClientError):
    """The service answered with problem+json (or with an error that had to be put into that shape)."""

    def __init__(self, problem: ProblemDetails) -> None:
        super().__init__(problem.detail or problem.title, hint=problem.hint or "")
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def kind(self) -> str:
        """The last part of the problem's type, as ``not-found``."""
        return self.problem.type.rsplit("/", 1)[-1]


class UnexpectedAnswer(ClientError):
    """The answer is no Picofleet message: an older or newer service, or something else listens there."""


class Unusable(ClientError):
    """A file or a value that the user named cannot be used; found before anything was sent."""


class DownloadError(ClientError):
    """A file could not be fetched, or what came is not what was expected."""


class JobFailed(ClientError):
    """A job that was waited for ended otherwise than in success."""


class DeploymentFailed(ClientError):
    """A deployment that was waited for is not served."""


class RolloutNotOver(ClientError):
    """A rollout that was waited for goes on still."""
