"""What a process remembers between two convergences."""

import threading
import time
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from services.inference.deployments.domain import Numbered, Status, pause_s
from services.inference.engine.loaded import LoadedVersion
from shared.contracts.deployments import Batching, Engine


class VersionKey(NamedTuple):
    """What makes a loaded version another one."""

    model: str
    engine: Engine
    threads: int
    lanes: int
    """Runs at the same time; 0 where nothing is batched over requests."""
    batching: Batching | None


@dataclass(frozen=True, slots=True)
class _Failure:
    generation: tuple[str, int]
    failures: int
    again_at: float | None
    """time.monotonic(); None: never."""


class Convergence:
    """Versions that are in use, and generations that failed. One thread at a time converges, holding ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tried = threading.Event()
        """Set when the first convergence is over, whatever came of it."""
        self.statuses: dict[str, Status] = {}
        """By deployment id. Replaced or added to by who converges; others only read it."""
        self._released = threading.Event()
        self._versions: weakref.WeakValueDictionary[VersionKey, LoadedVersion] = weakref.WeakValueDictionary()
        self._failures: dict[str, _Failure] = {}

    def version(self, key: VersionKey) -> LoadedVersion | None:
        """The version if somebody still uses it."""
        return self._versions.get(key)

    def keep(self, key: VersionKey, loaded: LoadedVersion, holding: ExitStack) -> None:
        """Share the version with others as long as anybody uses it; then ``holding`` is closed."""
        self._versions[key] = loaded
        weakref.finalize(loaded, self._release, holding)

    def released(self) -> bool:
        """True if versions went since this was asked last."""
        gone = self._released.is_set()
        self._released.clear()
        return gone

    def _release(self, holding: ExitStack) -> None:
        # The version's memory is freed after this.
        self._released.set()
        holding.close()

    def is_due(self, wanted: Numbered) -> bool:
        """Whether to try this generation now."""
        failure = self._failures.get(wanted.name)
        if failure is None or failure.generation != (wanted.id, wanted.generation):
            return True
        return failure.again_at is not None and time.monotonic() >= failure.again_at

    def failed(self, wanted: Numbered, *, for_now: bool) -> None:
        """It did not work. ``for_now``: it may work later."""
        before = self._failures.get(wanted.name)
        generation = (wanted.id, wanted.generation)
        failures = 1 + (before.failures if before is not None and before.generation == generation else 0)
        again_at = time.monotonic() + pause_s(failures) if for_now else None
        self._failures[wanted.name] = _Failure(generation, failures, again_at)

    def forget(self, name: str) -> None:
        """It is served, gone, or to be tried again now."""
        self._failures.pop(name, None)
