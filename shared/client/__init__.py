"""The Python SDK and the `picofleet` command. Speaks HTTP only: it knows no service from the inside."""

from typing import TYPE_CHECKING, Any

from shared.client.errors import ClientError, NotReachable, ProblemError

if TYPE_CHECKING:
    from shared.client.sdk import PicofleetClient

__all__ = ["ClientError", "NotReachable", "PicofleetClient", "ProblemError"]


def __getattr__(name: str) -> Any:
    """The client is imported when it is asked for: 0.2 s that whoever catches its errors need not pay."""
    if name == "PicofleetClient":
        from shared.client.sdk import PicofleetClient

        return PicofleetClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
