"""Keeping something running: what is to run, else what ran before."""

from typing import Final

from services.camera.book import Book
from services.camera.errors import InstallFailed, RestartNeeded, SensorStuck
from services.camera.sensor import Sensor
from services.camera.slots import Slots
from services.camera.state import Slot
from shared.contracts.cameras import GoldenCheck
from shared.kit.logging import get_logger

log = get_logger(__name__)

MOST_TRIES: Final = 2
"""So often a package is loaded that ran before, until the one before it is."""


class Runner:
    """Loads what lies in a slot."""

    def __init__(self, book: Book, slots: Slots, sensor: Sensor) -> None:
        self._book, self._slots, self._sensor = book, slots, sensor

    def bring_back(self) -> bool:
        """Run current, or after two failures what ran before it; False if nothing runs. RestartNeeded."""
        reason = "the agent ended while it was loaded"
        while (slot := self._book.state.current) is not None:
            if self._book.state.tries < MOST_TRIES:
                self._book.keep(self._book.state.changed(tries=self._book.state.tries + 1))
                try:
                    golden = self._load(slot)
                except InstallFailed as exc:
                    reason = str(exc)
                    log.warning("package.does_not_run", package=slot.package, reason=reason)
                else:
                    self._book.keep(self._book.state.changed(tries=0, golden=golden))
                    return True
            elif not self._step_back(slot, reason):
                return False
        return False

    def give_up_on_current(self) -> None:
        """It ran, and ended too often: what ran before it is next."""
        self._book.keep(self._book.state.changed(tries=MOST_TRIES))

    def _load(self, slot: Slot) -> GoldenCheck:
        self._slots.check(slot)
        try:
            return self._sensor.run(slot.package, self._slots.package(slot), self._slots.finished(slot))
        except SensorStuck as exc:
            raise RestartNeeded(str(exc)) from exc

    def _step_back(self, slot: Slot, reason: str) -> bool:
        """To what ran before; False if there is none."""
        state, good = self._book.state, self._book.state.good
        if good is None:
            self._book.keep(state.changed(note=f"{slot.package} does not run: {reason}"))
            return False
        note = f"{slot.package} does not run any more: {reason}; back to {good.package}"
        log.error("package.returned", package=slot.package, to=good.package, reason=reason)
        self._book.keep(state.changed(current=good, good=None, tries=0, golden=GoldenCheck.UNVERIFIED, note=note))
        self._book.clear()
        return True
