"""The Python SDK and the `picofleet` command. Speaks HTTP only: it knows no service from the inside."""

from shared.client.errors import ClientError, NotReachable, ProblemError
from shared.client.sdk import PicofleetClient

__all__ = ["ClientError", "NotReachable", "PicofleetClient", "ProblemError"]
