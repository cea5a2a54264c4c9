"""The state at hand, and how it gets to the disk even when that is full."""

from services.camera.disk import is_full
from services.camera.errors import InstallFailed
from services.camera.slots import Slots
from services.camera.state import Report, State, Store
from shared.kit.logging import get_logger

log = get_logger(__name__)


class Book:
    """``state`` is what is true; ``is_behind`` says that the disk does not know it yet."""

    def __init__(self, store: Store, slots: Slots) -> None:
        self._store, self._slots = store, slots
        self.state = State()
        self.is_behind = False

    def open(self) -> None:
        """Read it. StateUnreadable."""
        self.state = self._store.load()

    def save(self, state: State) -> None:
        """A step forward, which counts only once it is on the disk. InstallFailed if it cannot be."""
        try:
            self._store.save(state)
        except OSError as exc:
            raise InstallFailed(in_words(exc)) from exc
        self.state, self.is_behind = state, False

    def keep(self, state: State) -> None:
        """What is true whether or not the disk takes it. If it does not, room is made, and it is tried again later."""
        self.state = state
        try:
            self._store.save(state)
            self.is_behind = False
        except OSError:
            self._make_room(state)

    def report(self, report: Report) -> None:
        """One more thing to tell."""
        self.keep(self.state.with_report(report))

    def catch_up(self) -> None:
        """Bring to the disk what it did not take before."""
        if self.is_behind:
            self.keep(self.state)

    def clear(self) -> None:
        """Remove what nothing needs; what cannot be removed now is removed another time."""
        try:
            self._slots.clear(self.state)
        except OSError as exc:
            log.warning("disk.not_cleared", error=in_words(exc))

    def _make_room(self, state: State) -> None:
        try:
            self._slots.clear(state)
            self._store.save(state)
            self.is_behind = False
        except OSError as exc:
            self.is_behind = True
            log.error("state.not_saved", error=in_words(exc))


def in_words(exc: OSError) -> str:
    """For people."""
    where = f" ({exc.filename})" if exc.filename else ""
    return f"the disk is full{where}" if is_full(exc) else f"the disk fails: {exc.strerror or exc}{where}"
