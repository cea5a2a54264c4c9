"""Every change that the agent makes on the disk. Nothing else in services.camera writes, renames or removes.

A power cut may come between any two of these steps. So a file that replaces another is written beside it, brought to the disk,
and renamed; and a folder is brought to the disk after what was changed in it.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

Hook = Callable[[str, Path], None]
"""Told of every step before it is done: what (mkdir, write, sync, rename, unlink, rmdir, sync_folder) and where."""

TEMPORARY: Final = ".new"
"""Ends the name of a file that is not whole yet."""


def _go_on(_step: str, _path: Path) -> None:
    """Nobody watches."""


class Disk:
    """``hook`` may raise in place of a step: tests cut the power so, or fill the disk."""

    def __init__(self, hook: Hook = _go_on) -> None:
        self._hook = hook

    def make_folder(self, path: Path) -> None:
        """With its parents; no matter if it is there."""
        if not path.is_dir():
            self.make_folder(path.parent)
            self._hook("mkdir", path)
            path.mkdir(mode=0o755, exist_ok=True)
            self.sync_folder(path.parent)

    def write(self, path: Path, pieces: Iterable[bytes]) -> None:
        """A file that nobody reads before it is whole, brought to the disk. One that lies there is overwritten."""
        self._hook("write", path)
        with path.open("wb") as file:
            for piece in pieces:
                self._hook("write", path)
                file.write(piece)
            self._sync(path, file)

    def replace(self, path: Path, content: bytes) -> None:
        """The file holds either what it held or ``content``, whatever happens."""
        beside = path.with_name(path.name + TEMPORARY)
        self.write(beside, [content])
        self.rename(beside, path)

    @contextmanager
    def appending(self, path: Path) -> Iterator[Callable[[bytes], None]]:
        """Adds to a file, piece by piece; what was added before an exception stays, and need not be on the disk yet."""
        self._hook("write", path)
        with path.open("ab") as file:

            def add(piece: bytes) -> None:
                self._hook("write", path)
                file.write(piece)

            yield add
            self._sync(path, file)

    def rename(self, source: Path, target: Path) -> None:
        """A file over another, or a folder to where nothing is."""
        self._hook("rename", target)
        source.rename(target)
        self.sync_folder(target.parent)

    def remove(self, path: Path) -> None:
        """A file or a whole folder; no matter if it is not there."""
        if path.is_dir() and not path.is_symlink():
            for each in list(path.iterdir()):
                self._drop(each)
            self._hook("rmdir", path)
            path.rmdir()
        elif path.exists() or path.is_symlink():
            self._hook("unlink", path)
            path.unlink(missing_ok=True)
        else:
            return
        self.sync_folder(path.parent)

    def sync_folder(self, path: Path) -> None:
        """What was made, renamed or removed in it is so after a power cut."""
        self._hook("sync_folder", path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def sync_tree(self, path: Path) -> None:
        """Files and folders that another program wrote below ``path``."""
        for each in path.iterdir():
            if each.is_dir():
                self.sync_tree(each)
            else:
                with each.open("rb") as file:
                    self._sync(each, file)
        self.sync_folder(path)

    def _drop(self, path: Path) -> None:
        """As ``remove``; the folder round it is going to go anyhow."""
        if path.is_dir() and not path.is_symlink():
            for each in list(path.iterdir()):
                self._drop(each)
            self._hook("rmdir", path)
            path.rmdir()
        else:
            self._hook("unlink", path)
            path.unlink(missing_ok=True)

    def _sync(self, path: Path, file: IO[bytes]) -> None:
        file.flush()
        self._hook("sync", path)
        os.fsync(file.fileno())


def is_full(exc: OSError) -> bool:
    """Whether there was no place for something: on the disk, or in what the user may have of it."""
    return exc.errno in {errno.ENOSPC, errno.EDQUOT}


def free_bytes(path: Path) -> int:
    """On the disk that ``path`` is on, or would be on."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
