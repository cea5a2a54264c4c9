"""Signed returns to older releases, without which cameras take no lower number: asked of the jobs service, and kept."""

from collections.abc import Sequence
from typing import NamedTuple

import structlog
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from services.fleet.actions.models import Action
from services.fleet.packages.models import Package, Statement
from services.fleet.rollouts import repository
from services.fleet.rollouts.models import Rollout
from services.fleet.rollouts.work import Work, once
from services.fleet.runtime import Services
from shared.client.errors import ClientError
from shared.contracts.packaging import ReturnIn, SignedReturnOut
from shared.contracts.rollouts import ActionKind, FleetPackageKind, RolloutState
from shared.kit.database import begin_reading

log = structlog.get_logger(__name__)

_RETURNING = (RolloutState.ROLLING_BACK,)
WAITING = "waits for the jobs service to sign the return of"


class Return(NamedTuple):
    """From a release of a line to an older one."""

    line: str
    from_release: int
    to_release: int

    def __str__(self) -> str:
        return f"{self.line} from {self.from_release} to {self.to_release}"


def fetch(services: Services, rollout_id: str) -> None:
    """Have the returns signed that the rollout's restores need. While the jobs service is away the rollout says so."""
    with services.sessions.begin() as session:
        begin_reading(session)
        missing = {_needed(*pair) for pair in _pairs(session, rollout_id)} - {None} - set(_kept(session, rollout_id))
    reason = ""
    for wanted in sorted(filter(None, missing)):
        try:
            signed = _sign(services, wanted)
        except (ClientError, OSError) as exc:
            log.warning("rollouts.return_not_signed", rollout_id=rollout_id, wanted=str(wanted), error=str(exc))
            reason = f"{WAITING} {wanted}: {exc}"
            continue
        _keep(services, wanted, signed)
    once(services, rollout_id, lambda work: _say(work, reason), _RETURNING)


def _sign(services: Services, wanted: Return) -> SignedReturnOut:
    body = ReturnIn(from_release=wanted.from_release, to_release=wanted.to_release, reason="a rollout is rolled back")
    with services.connect() as client:
        return client.packages.sign_return(wanted.line, body)


def _keep(services: Services, wanted: Return, signed: SignedReturnOut) -> None:
    try:
        with services.sessions.begin() as session:
            session.execute(insert(Statement).values(**wanted._asdict(), envelope=signed.model_dump(mode="json")))
    except IntegrityError:
        return  # another replica, or another rollout, had it signed as well


def _say(work: Work, reason: str) -> bool:
    before, mark, _ = work.rollout.reason.partition(f"; {WAITING}")
    del mark
    told = f"{before}; {reason}" if reason else before
    if told != work.rollout.reason:
        work.rollout.reason = told
        if reason:
            work.tell("rollout.waiting", reason=reason)
    return False


def returnable(session: Session, rollout_id: str) -> list[str]:
    """Packages to which the rollout's cameras can return now."""
    kept = set(_kept(session, rollout_id))
    return [back.id for left, back in _pairs(session, rollout_id) if (needed := _needed(left, back)) is None or needed in kept]


def _pairs(session: Session, rollout_id: str) -> Sequence[tuple[Package, Package]]:
    """The rollout's package, and each that a camera has yet to return to."""
    left, back = aliased(Package), aliased(Package)
    wanted = select(Action.package_id).where(
        Action.rollout_id == rollout_id, Action.kind == ActionKind.RESTORE.value, repository.TURN_TO_COME
    )
    query = select(left, back).select_from(Rollout).join(left, left.id == Rollout.package_id)
    rows = session.execute(query.join(back, back.id.in_(wanted)).where(Rollout.id == rollout_id))
    return [(row[0], row[1]) for row in rows]


def _needed(left: Package, back: Package) -> Return | None:
    """The statement that a camera asks for; None where numbers do not fall."""
    models = {left.kind, back.kind} == {FleetPackageKind.MODEL.value}
    if not models or left.name != back.name or left.release is None or back.release is None or back.release >= left.release:
        return None
    return Return(left.name, left.release, back.release)


def _kept(session: Session, rollout_id: str) -> Sequence[Return]:
    query = select(Statement.line, Statement.from_release, Statement.to_release)
    mine = query.join(Package, Package.name == Statement.line).join(Rollout, Rollout.package_id == Package.id)
    return [Return(*row) for row in session.execute(mine.where(Rollout.id == rollout_id))]
