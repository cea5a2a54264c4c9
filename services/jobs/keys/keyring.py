"""Looks callers up by their key, and notes the use of keys without a write per request."""

import hmac
import threading
from datetime import UTC, datetime

from sqlalchemy.orm import Session, sessionmaker

from services.jobs.keys import repository
from shared.contracts.keys import Scope
from shared.kit.auth import Actor, hash_secret
from shared.kit.database import begin_reading


class KeyRing:
    """``authenticate`` of the service that owns the keys: asks the database each time, so revocation holds at once."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._lock = threading.Lock()
        self._used: dict[str, datetime] = {}

    def authenticate(self, secret: str) -> Actor | None:
        """The caller whose secret this is; None for unknown, revoked and expired ones alike."""
        wanted = hash_secret(secret)
        with self._sessions.begin() as session:
            begin_reading(session)
            key = repository.live_by_hash(session, wanted)
        # The index compares hashes of 256 random bits, so its timing tells nothing; this costs nothing either.
        if key is None or not hmac.compare_digest(key.secret_hash, wanted):
            return None
        with self._lock:
            self._used[key.id] = datetime.now(UTC)
        return Actor(key_id=key.id, name=key.name, scope=Scope(key.scope))

    def write_uses(self) -> None:
        """Store what was noted since the last call."""
        with self._lock:
            used, self._used = self._used, {}
        if used:
            with self._sessions.begin() as session:
                repository.note_use(session, used)
