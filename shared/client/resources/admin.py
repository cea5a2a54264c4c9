"""Keys and workers over REST."""

from collections.abc import Iterator
from urllib.parse import quote

from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.keys import KeyCreated, KeyIn, KeyOut
from shared.contracts.worker import WorkerOut


class Keys:
    """`/v1/keys`; admins only, but for ``own``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, key: KeyIn) -> KeyCreated:
        """Make a key. Its secret is in this answer and nowhere else."""
        return parsed(KeyCreated, self._transport.call("POST", "/v1/keys", body=key))

    def list(self, *, limit: int | None = None) -> Iterator[KeyOut]:
        """All keys, revoked ones too."""
        return every(self._transport, "/v1/keys", KeyOut, limit=limit)

    def revoke(self, key_id: str) -> None:
        """Take a key out of use at once."""
        self._transport.call("DELETE", f"/v1/keys/{quote(key_id, safe='')}")

    def own(self) -> KeyOut:
        """The key that this client uses."""
        return parsed(KeyOut, self._transport.call("GET", "/v1/keys/self"))


class Workers:
    """`/v1/workers`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> "list[WorkerOut]":
        """All workers seen lately."""
        answer = self._transport.call("GET", "/v1/workers").json()
        items = answer["items"] if isinstance(answer, dict) else answer
        return [WorkerOut.model_validate(item) for item in items]
