"""Power cuts and full disks, made at any chosen change of the disk."""

import errno
from pathlib import Path
from typing import Any

from services.camera.disk import Disk


class PowerCut(BaseException):
    """Nothing after it is done; nobody may catch it."""


class CuttingDisk(Disk):
    """The power goes instead of step number ``at``. Then what was not brought to the disk is lost: half of each file, and with
    ``forgets`` the last rename.
    """

    def __init__(self, at: int | None, *, forgets: bool = False) -> None:
        super().__init__(self._count)
        self.steps: list[str] = []
        self.is_cut = False
        self.forgot = False
        self._at, self._forgets = at, forgets
        self._unsynced: dict[int, Path] = {}
        self._before: tuple[str, Path] | None = None
        self._renamed: tuple[Path, Path, bytes | None] | None = None

    def rename(self, source: Path, target: Path) -> None:
        old = target.read_bytes() if target.is_file() else None
        self._renamed = (source, target, old)
        super().rename(source, target)
        self._renamed = None

    def _count(self, step: str, path: Path) -> None:
        if self.is_cut:
            raise PowerCut  # the daemon threads and `finally` clauses of a dead process
        self._learn()
        self.steps.append(step)
        self._before = step, path
        if len(self.steps) - 1 == self._at:
            self._cut(step)
            raise PowerCut

    def _learn(self) -> None:
        """What the step before did."""
        if self._before is None:
            return
        step, path = self._before
        if step == "write" and path.exists():
            self._unsynced[path.stat().st_ino] = path
        if step == "sync" and path.exists():
            self._unsynced.pop(path.stat().st_ino, None)

    def _cut(self, step: str) -> None:
        self.is_cut = True
        if self._forgets and step == "sync_folder" and self._renamed is not None:
            self._forget(*self._renamed)
        for path in self._unsynced.values():
            for place in (path, path.with_name(path.name.removesuffix(".new"))):
                if place.is_file() and place.stat().st_ino in self._unsynced:
                    with place.open("r+b") as file:
                        file.truncate(place.stat().st_size // 2)

    def _forget(self, source: Path, target: Path, old: bytes | None) -> None:
        self.forgot = True
        target.rename(source)
        if old is not None:
            target.write_bytes(old)


class FullDisk(Disk):
    """There is no room from step number ``at`` on: for one step, or until ``has_room`` is set again."""

    def __init__(self, at: int, *, stays_full: bool) -> None:
        super().__init__(self._count)
        self.has_room = False
        self.hit = False
        self._at, self._stays_full, self._seen = at, stays_full, 0

    def _count(self, step: str, path: Path) -> None:
        if step not in {"write", "mkdir", "sync"}:
            return
        number, self._seen = self._seen, self._seen + 1
        if not self.has_room and (number == self._at or (self._stays_full and number > self._at)):
            self.hit = True
            raise OSError(errno.ENOSPC, "No space left on device", str(path))


def leftovers(folder: Path, state: Any) -> set[str]:
    """Places below the camera's folder that nothing needs."""
    wanted = {"state.json", "slots"} | {f"slots/{slot.name}" for slot in (state.current, state.good) if slot}
    found = {path.relative_to(folder).as_posix() for pattern in ("*", "slots/*") for path in folder.glob(pattern)}
    return found - wanted
