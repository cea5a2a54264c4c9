"""How services reach each other: a client per conversation."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.client.sdk import PicofleetClient


class ClientFactory:
    """Makes clients of another service; the key is read anew each time, so that it may be exchanged."""

    def __init__(self, url: str, *, key: str | None, key_file: Path | None) -> None:
        self._url, self._key, self._key_file = url, key, key_file

    def __call__(self, *, timeout_s: float = 20) -> "PicofleetClient":
        """A client that gives up soon: a loop comes back anyway."""
        from shared.client.sdk import PicofleetClient  # 0.2 s, which a start that asks nobody need not pay

        return PicofleetClient(self._url, self.key(), timeout_s=timeout_s, retries=0)

    def key(self) -> str | None:
        """As it is now. OSError if its file cannot be read."""
        return self._key_file.read_text().strip() if self._key_file is not None else self._key
