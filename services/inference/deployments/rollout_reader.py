"""How rollouts stand, asked over connections that stay open: making one takes ten times as long as asking."""

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from shared.client.connecting import ClientFactory
from shared.client.errors import ClientError, NotReachable
from shared.client.resources.fleet import Fleet
from shared.contracts.rollouts import RolloutOut

if TYPE_CHECKING:
    from shared.client.sdk import PicofleetClient

TIMEOUT_S: Final = 2.0
"""So long somebody who looks at deployments waits for the fleet service; then the rollouts' states are unknown."""


class RolloutReader:
    """Safe to use from several threads."""

    def __init__(self, connect: ClientFactory) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._key: str | None = None
        self._client: PicofleetClient | None = None
        self._opened_ones = ExitStack()

    def read(self, rollout_ids: Sequence[str]) -> dict[str, RolloutOut | str]:
        """By id: the rollout, or why it is unknown. Who does not answer once is not asked again."""
        found: dict[str, RolloutOut | str] = {}
        try:
            rollouts = self._opened().rollouts
            for rollout_id in rollout_ids:
                try:
                    found[rollout_id] = rollouts.get(rollout_id)
                except NotReachable:
                    raise
                except ClientError as exc:
                    found[rollout_id] = f"The fleet service says: {exc}"
        except (NotReachable, OSError) as exc:  # OSError: the key's file
            return dict.fromkeys(rollout_ids, f"The fleet service cannot be asked: {exc}") | found
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._opened_ones.close()

    def _opened(self) -> Fleet:
        """The client of before, unless the key was exchanged; others may still use that of the old key, so it stays open."""
        with self._lock:
            key = self._connect.key()
            if self._client is None or key != self._key:
                self._client, self._key = self._opened_ones.enter_context(self._connect(timeout_s=TIMEOUT_S)), key
            return self._client.fleet
