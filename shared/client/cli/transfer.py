"""A progress bar for bytes."""

import sys
from typing import Self

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from shared.client.cli.common import err, escaped


class Transfer:
    """Shows one file on its way; shows nothing without a terminal."""

    def __init__(self, name: str) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, console=err(), transient=True, disable=not sys.stderr.isatty())
        self._task = self._bars.add_task(escaped(name), total=None)

    def update(self, done: int, total: int | None) -> None:
        """Show ``done`` of ``total`` bytes."""
        self._bars.update(self._task, completed=done, total=total)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
