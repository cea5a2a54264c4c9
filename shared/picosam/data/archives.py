"""Unpacks a dataset's archive, in this package's words for errors and stops."""

from collections.abc import Callable
from pathlib import Path

from shared import archives
from shared.archives import STANDARD, Limits
from shared.picosam.data.errors import ArchiveRefused, Stopped
from shared.picosam.data.ordered import Report, ignore, never


def unpack(
    archive: Path, folder: Path, *, limits: Limits = STANDARD, progress: Report = ignore, stop: Callable[[], bool] = never
) -> None:
    """Unpacks ``archive`` into ``folder``, which must not be there yet and appears whole or not at all.

    Progress counts bytes of the archive. ``ArchiveRefused`` names the entry at fault; ``Stopped`` if ``stop()`` became true.
    """

    def watch() -> None:
        if stop():
            raise Stopped

    try:
        archives.unpack(archive, folder, limits=limits, progress=progress, watch=watch)
    except archives.ArchiveRefused as exc:
        raise ArchiveRefused(str(exc)) from exc
