"""What this replica remembers of devices that poll: what they are answered while nothing changes, and who was heard of.

A remembered answer must never outlive a change that another replica has committed, by more than the time between two looks at
the epochs (see ``epochs``). How that holds:

- Each bucket has a *generation* in this process. It is raised whenever a look at the epochs finds another epoch there.
- Whoever answers from the database takes ``generations()`` *before* reading and puts the answer with it. An answer counts as
  long as its bucket's generation is still the one that was taken.
- A change of a camera's answer and its epoch are committed together, so a reader sees both or neither, and a database that
  has shown a commit once shows it from then on. Say an answer was read without a change. Had a look found the change's epoch
  before the generations were taken, the reading, which came later, would have seen the change as well. So the look that finds
  it comes after the generations were taken, and raises the generation: the answer counts no more, whether it was put already
  or is only put afterwards. Nobody needs a lock for it.
- Generations are this process's own and only rise, so epochs that go back with a restored database revive nothing.
- Looks that fail find no changes. So what is remembered counts for ``TRUSTED_S`` after the last look that succeeded, and
  nothing counts where the loop does not run at all.
"""

import hashlib
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.fleet.polling.epochs import BUCKETS, bucket_of

TRUSTED_S: Final = 300.0
"""So long a replica that cannot see the database goes on telling devices that they have nothing to do."""

MOST: Final = 200_000
"""Answers kept, of about a kilobyte each."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a camera is answered. ``until``: of the monotonic clock."""

    camera_id: str
    bucket: int
    generation: int
    credential: bytes
    """SHA-256 of the whole Authorization header that was let in."""
    base: str
    """The address by which the device reaches the service: links start with it."""
    etag: bytes
    body: bytes
    until: float


class PollMemory:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: dict[str, Remembered] = {}
        self._generations: tuple[int, ...] = (0,) * BUCKETS
        self._epochs: tuple[int, ...] | None = None
        self._trusted_until = 0.0
        self._heard: dict[str, str] = {}
        self._quiet_s: int | None = None

    @property
    def quiet_s(self) -> int | None:
        """How often cameras that have nothing to do are to ask, where an operator has set it."""
        return self._quiet_s

    def set_quiet(self, seconds: int | None) -> None:
        """Ask them otherwise from now on: what is remembered counts no more if it says another time."""
        if seconds != self._quiet_s:
            self._quiet_s = seconds
            self._generations = tuple(generation + 1 for generation in self._generations)

    def generations(self) -> Sequence[int]:
        """By bucket. Take them before the database is read."""
        return self._generations

    def look(self, epochs: Sequence[int]) -> int:
        """The epochs of all buckets as the database has them, read after the look before; how many buckets are forgotten."""
        before, now = self._epochs or (None,) * BUCKETS, tuple(epochs)
        changed = [old != new for old, new in zip(before, now, strict=True)]
        if any(changed):
            self._generations = tuple(map(int.__add__, self._generations, changed))
        self._epochs, self._trusted_until = now, time.monotonic() + TRUSTED_S
        return sum(changed)

    def recall(self, controller_id: str, authorization: bytes, base: str) -> Remembered | None:
        """What the device is to be answered; None says nothing. Never waits, so an event loop may call it."""
        known = self._answers.get(controller_id)
        if known is None or known.generation != self._generations[known.bucket] or known.base != base:
            return None
        now = time.monotonic()
        if now > known.until or now > self._trusted_until or known.credential != hashlib.sha256(authorization).digest():
            return None
        return known

    def put(
        self,
        controller_id: str,
        camera_id: str,
        authorization: bytes,
        base: str,
        *,
        etag: bytes,
        body: bytes,
        generations: Sequence[int],
        keep_s: float,
    ) -> None:
        """Remember an answer for ``keep_s``; ``generations`` were taken before the database was read for it."""
        bucket = bucket_of(camera_id)
        remembered = Remembered(
            camera_id=camera_id,
            bucket=bucket,
            generation=generations[bucket],
            credential=hashlib.sha256(authorization).digest(),
            base=base,
            etag=etag,
            body=body,
            until=time.monotonic() + keep_s,
        )
        with self._lock:
            self._answers.pop(controller_id, None)
            while len(self._answers) >= MOST:
                del self._answers[next(iter(self._answers))]
            self._answers[controller_id] = remembered

    def heard(self, camera_id: str, address: str) -> None:
        """A device was let in, from this address."""
        with self._lock:
            self._heard[camera_id] = address

    def take_heard(self) -> dict[str, str]:
        """Addresses by camera of all that were heard of since the last call."""
        with self._lock:
            heard, self._heard = self._heard, {}
        return heard

    def give_back(self, heard: Mapping[str, str], but: Collection[str] = ()) -> None:
        """These, but for some, could not be written: they are taken again, where nothing newer is known."""
        rest = {camera_id: address for camera_id, address in heard.items() if camera_id not in but}
        with self._lock:
            self._heard = rest | self._heard
