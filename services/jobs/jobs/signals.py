"""What a transaction wants told to the outside once it has been committed, and not otherwise."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

_KEY: Final = "picofleet_signals"


@dataclass(slots=True)
class Signals:
    """Collected during one transaction."""

    dispatched: dict[str, str] = field(default_factory=dict)
    """Kind by id, of jobs that a worker should claim."""
    changed: set[str] = field(default_factory=set)
    """Ids of jobs with new events."""
    loops: set[str] = field(default_factory=set)
    """Loops of the service that have work now."""


class Sink(Protocol):
    """Takes the signals of a committed transaction. Must not block and must not raise."""

    def take(self, signals: Signals) -> None:
        """Carry ``signals`` outside, best effort: readers poll and the sweeper sends again."""


def of(session: Session) -> Signals:
    """The signals of the session's transaction, to be added to."""
    signals: Signals = session.info.setdefault(_KEY, Signals())
    return signals


def install(sessions: sessionmaker[Session], sink: Sink) -> None:
    """Hand the signals of every session of ``sessions`` to ``sink`` after its commit."""

    def committed(session: Session) -> None:
        # The hook fires for released savepoints too, whose outer transaction may still fail.
        if session.in_nested_transaction():
            return
        signals = session.info.pop(_KEY, None)
        if signals is not None:
            sink.take(signals)

    def rolled_back(session: Session) -> None:
        if not session.in_nested_transaction():
            session.info.pop(_KEY, None)

    event.listen(sessions, "after_commit", committed)
    event.listen(sessions, "after_rollback", rolled_back)
