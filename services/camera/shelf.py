"""Samples that wait for the server, on the disk: one file each, numbered as they came."""

from collections import deque
from pathlib import Path
from typing import Final

from services.camera.disk import Disk, free_bytes
from shared.contracts.packages import MAX_PACKAGE_BYTES

LEAST_FREE_BYTES: Final = 4 * MAX_PACKAGE_BYTES
"""That an installation may need: with less than this, samples are not kept."""
_NAME: Final = "{:012d}.json"


class Shelf:
    """``most`` samples; a newer one displaces the oldest. Nobody else may write in ``folder``."""

    def __init__(self, disk: Disk, folder: Path, most: int) -> None:
        self._disk, self._folder, self._most = disk, folder, most
        self._numbers: deque[int] = deque()
        self._next = 1

    def __len__(self) -> int:
        return len(self._numbers)

    def open(self) -> None:
        """Find what waits, and remove what is not whole. OSError."""
        found = set()
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            number = int(path.stem) if path.stem.isascii() and path.stem.isdecimal() else 0
            if path.name == _NAME.format(number):
                found.add(number)
            else:
                self._disk.remove(path)
        self._numbers = deque(sorted(found))
        self._next = max(found, default=0) + 1
        self._trim()

    def clear(self) -> None:
        """Keep none. OSError."""
        self._numbers.clear()
        self._disk.remove(self._folder)

    def add(self, content: bytes) -> bool:
        """On the disk when this returns; False if that has too little room. OSError."""
        if free_bytes(self._folder) < LEAST_FREE_BYTES:
            return False
        self._disk.make_folder(self._folder)
        self._disk.replace(self._path(self._next), content)
        self._numbers.append(self._next)
        self._next += 1
        self._trim()
        return True

    def oldest(self) -> bytes | None:
        """None if there is none. OSError."""
        return self._path(self._numbers[0]).read_bytes() if self._numbers else None

    def drop_oldest(self) -> None:
        """It was sent, or is of no use. OSError, and then it is forgotten until the agent starts anew."""
        self._disk.remove(self._path(self._numbers.popleft()))

    def _trim(self) -> None:
        while len(self._numbers) > self._most:
            self.drop_oldest()

    def _path(self, number: int) -> Path:
        return self._folder / _NAME.format(number)
