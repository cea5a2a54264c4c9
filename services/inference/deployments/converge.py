"""From what the database says to what this process serves."""

from contextlib import suppress
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.inference.deployments import heartbeat, repository, versions
from services.inference.deployments.domain import Status, Wanted
from services.inference.engine.desk import Desk
from services.inference.engine.errors import Unusable
from services.inference.engine.memory import give_back_freed_memory
from services.inference.engine.served import Served
from services.inference.registry.errors import ModelUnknown, NotServable
from services.inference.runtime import Services
from shared.contracts.deployments import ReplicaState
from shared.kit.database import begin_reading
from shared.kit.problems import Problem

log = structlog.get_logger(__name__)

CONVERGE: Final = "deployments.converge"

_ERROR_LIMIT: Final = 2000


def tick(services: Services) -> None:
    """Load what is newer than what is served, drop what is gone. What cannot be loaded leaves the one before in place."""
    try:
        with services.convergence.lock:
            _converge(services)
    finally:
        services.convergence.tried.set()


def _converge(services: Services) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        wanted = repository.wanted(session)
    if services.convergence.released():
        give_back_freed_memory()
    _drop_gone(services, wanted)
    for each in wanted:
        if services.stopping.is_set():
            return
        if not _is_served(services, each) and services.convergence.is_due(each):
            _advance(services, each)


def _drop_gone(services: Services, wanted: list[Wanted]) -> None:
    """Also what had a name that another deployment has now. Requests that hold it, and so its desk, finish with it."""
    ids, names = {each.id for each in wanted}, {each.name for each in wanted}
    gone = {served.name for served in services.table.all() if served.deployment_id not in ids}
    services.convergence.statuses = {key: status for key, status in services.convergence.statuses.items() if key in ids}
    for name in gone | (set(services.table.failing()) - names):
        services.table.drop(name)
        services.shadows.forget(name)
        services.drift.forget(name)
        services.convergence.forget(name)
        for gauge in (services.metrics.generation, services.metrics.inside):
            with suppress(KeyError):
                gauge.remove(name)
        log.info("deployment.dropped", deployment=name)


def _current(services: Services, wanted: Wanted) -> Served | None:
    return next((served for served in services.table.all() if served.deployment_id == wanted.id), None)


def _is_served(services: Services, wanted: Wanted) -> bool:
    current = _current(services, wanted)
    return current is not None and current.generation == wanted.generation


def _advance(services: Services, wanted: Wanted) -> None:
    current = _current(services, wanted)
    if current is None:
        services.table.note(wanted.name, "its versions are being loaded.")
    _report(services, wanted, ReplicaState.LOADING)
    try:
        served = _built(services, wanted, current)
    except (ModelUnknown, NotServable, Unusable) as exc:
        _fail(services, wanted, exc, for_now=False)
    except Exception as exc:  # the registry is away, the disk is full: whatever it is, the other deployments go on
        _fail(services, wanted, exc, for_now=True)
    else:
        _swap(services, wanted, served)


def _built(services: Services, wanted: Wanted, current: Served | None) -> Served:
    parts, shadow = versions.parts_of(services, wanted.plan)
    return Served(
        name=wanted.name,
        deployment_id=wanted.id,
        generation=wanted.generation,
        spec=wanted.plan.spec,
        parts=parts,
        shadow=shadow,
        desk=_desk(services, wanted, current),
    )


def _desk(services: Services, wanted: Wanted, current: Served | None) -> Desk:
    spec = wanted.plan.spec
    width = versions.desk_width(spec, services.processors)
    if current is not None and (current.desk.parallel, current.desk.max_queue) == (width, spec.max_queue):
        return current.desk
    return Desk(wanted.name, parallel=width, max_queue=spec.max_queue)


def _swap(services: Services, wanted: Wanted, served: Served) -> None:
    services.table.put(served)
    services.convergence.forget(wanted.name)
    services.metrics.generation.labels(wanted.name).set(wanted.generation)
    desk = served.desk
    services.metrics.inside.labels(wanted.name).set_function(lambda: desk.inside)
    _report(services, wanted, ReplicaState.READY)
    log.info("deployment.served", deployment=wanted.name, generation=wanted.generation)


def _fail(services: Services, wanted: Wanted, exc: Exception, *, for_now: bool) -> None:
    why = _told(exc)
    services.convergence.failed(wanted, for_now=for_now)
    if _current(services, wanted) is None:
        services.table.note(wanted.name, why)
    _report(services, wanted, ReplicaState.FAILED, why)
    # Where it is tried again, nobody need come; the traceback is for what nobody foresaw.
    unforeseen = not isinstance(exc, Unusable | Problem)
    level = log.warning if for_now else log.error
    level("deployment.failed", deployment=wanted.name, generation=wanted.generation, error=why, exc_info=unforeseen)


def _told(exc: Exception) -> str:
    """For people: what is wrong, and what to do."""
    if isinstance(exc, Unusable):
        return f"{exc} {exc.hint}"[:_ERROR_LIMIT]
    if isinstance(exc, Problem):
        hint = exc.members.get("hint", exc.hint)
        return (f"{exc.detail} {hint}" if hint else exc.detail)[:_ERROR_LIMIT]
    return f"{type(exc).__name__}: {exc}"[:_ERROR_LIMIT]


def _report(services: Services, wanted: Wanted, state: ReplicaState, error: str | None = None) -> None:
    current = _current(services, wanted)
    status = Status(target=wanted.generation, state=state, generation=current.generation if current else None, error=error)
    services.convergence.statuses[wanted.id] = status
    try:
        heartbeat.tell(services, {wanted.id: status})
    except SQLAlchemyError as exc:  # what is loaded is served all the same; the next heartbeat tells of it
        log.warning("deployment.not_reported", deployment=wanted.name, error=str(exc))
