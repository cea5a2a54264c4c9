"""One transaction of the engine on one rollout, whose row is locked meanwhile."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy.orm import Session

from services.fleet.events.record import record
from services.fleet.rollouts import repository
from services.fleet.rollouts.memory import Memory
from services.fleet.rollouts.models import Rollout
from services.fleet.runtime import Services
from shared.contracts.rollouts import RolloutIn, RolloutState
from shared.kit.database import db_now


@dataclass(slots=True)
class Work:
    """What a step may touch. ``rows``: how many actions it may change."""

    session: Session
    rollout: Rollout
    spec: RolloutIn
    memory: Memory
    now: datetime
    rows: int
    tick_s: float

    @property
    def id(self) -> str:
        """Of the rollout."""
        return self.rollout.id

    def remember(self, **values: Any) -> None:
        """Change the memory."""
        self.keep(self.memory.model_copy(update=values))

    def keep(self, memory: Memory) -> None:
        """Make this the memory."""
        if memory != self.memory:
            self.memory, self.rollout.budget = memory, memory.model_dump(mode="json")

    def enter(self, state: RolloutState, reason: str) -> None:
        """Move the rollout, and tell of it."""
        self.rollout.state, self.rollout.reason = state.value, reason
        self.rollout.next_tick_at = self.now
        if state.is_final:
            self.rollout.ended_at = self.now
        repository.touch_cameras(self.session, self.id)
        self.tell(f"rollout.{state.value}", reason=reason)

    def tell(self, type_: str, **detail: Any) -> None:
        """Record an event of this rollout that nobody did."""
        record(self.session, type_, rollout_id=self.id, **detail)


InTransaction: TypeAlias = Callable[[Work], bool]
"""Does a bounded piece; True if there is more of it."""

Step: TypeAlias = Callable[[Services, str], None]
"""Does all of something that is to be done for a rollout, in transactions of its own."""

_PIECES = 100
"""That a step does at a time: then others have their turn."""


def in_pieces(piece: InTransaction, *states: RolloutState) -> Step:
    """A step that does ``piece`` again and again, each in a transaction, as long as the rollout is in one of ``states``."""

    def step(services: Services, rollout_id: str) -> None:
        for _ in range(_PIECES):
            if services.stopping.is_set() or not once(services, rollout_id, piece, states):
                return

    return step


def in_turn(*pieces: InTransaction) -> InTransaction:
    """One piece after the other in the same transaction, up to the first that has more to do, or that moves the rollout."""

    def piece(work: Work) -> bool:
        state = work.rollout.state
        return any(each(work) for each in pieces if work.rollout.state == state)

    return piece


def once(services: Services, rollout_id: str, piece: InTransaction, states: Collection[RolloutState]) -> bool:
    """Do it in one transaction; False if there is no more, or the rollout is elsewhere or in another's hands."""
    with services.sessions.begin() as session:
        rollout = repository.claim(session, rollout_id, states)
        if rollout is None:
            return False
        return piece(
            Work(
                session=session,
                rollout=rollout,
                spec=RolloutIn.model_validate(rollout.spec),
                memory=Memory.model_validate(rollout.budget),
                now=db_now(session),
                rows=services.settings.tick_rows,
                tick_s=services.settings.tick_s,
            )
        )
