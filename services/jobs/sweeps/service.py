"""Decisions on sweeps that users ask for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy.orm import Session

from services.jobs.jobs import needs, signals, submission
from services.jobs.pipelines.hooks import SWEEPS
from services.jobs.pipelines.service import refusal
from services.jobs.pipelines.specs import as_written, complete
from services.jobs.runtime import Services
from services.jobs.sweeps import advance, repository, state
from services.jobs.sweeps.domain import IllegalMove
from services.jobs.sweeps.errors import SweepNotCancellable, SweepNotFound
from services.jobs.sweeps.models import Sweep
from services.jobs.sweeps.values import NoSuchPlace, extremes, put_in, total
from shared.contracts.base import is_id, new_id
from shared.contracts.pipelines import MAX_TRIALS, Choices, SweepIn
from shared.contracts.problems import FieldError
from shared.kit.database import db_now
from shared.kit.problems import InvalidRequest

_SPEC = "body.base.spec"
_FIELDS = "body.search.fields"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A sweep that makes sense, with what the registry knows of what its trials name."""

    body: SweepIn
    wanted: list[tuple[dict[str, Any], submission.Wanted]]
    """With the values of the trial. One of each sort: trials that name the same models and splits are asked about once."""


def propose(services: Services, body: SweepIn) -> Proposal:
    """Check all that needs no database of ours. Call it before the transaction. InvalidRequest with all that is wrong."""
    if body.base.kind not in submission.BODIES:
        hint = f"one of {', '.join(submission.BODIES)}"
        raise InvalidRequest.of_field("body.base.kind", f"{body.base.kind.value} cannot be a trial", hint)
    errors = list(_impossible(body))
    if errors:
        raise refusal(errors)
    errors, bodies = [], dict[str, tuple[dict[str, Any], submission.Body]]()
    for chosen in extremes(body.search):
        try:
            found = _trial(body, chosen)
            bodies.setdefault(_named(found), (chosen, found))
        except NoSuchPlace as exc:
            errors.append(FieldError(field=_FIELDS, message=str(exc)))
        except InvalidRequest as exc:
            errors += _relocated(exc, chosen, body)
    if errors:
        raise _refusal(errors)
    looked_up = [(chosen, submission.look_up(services, each, place=_SPEC)) for chosen, each in bodies.values()]
    return Proposal(body=body, wanted=looked_up)


def _refusal(errors: Sequence[FieldError]) -> InvalidRequest:
    return refusal(list({(error.field, error.message): error for error in errors}.values()))


def _impossible(body: SweepIn) -> Iterator[FieldError]:
    trials = total(body.search)
    if trials > MAX_TRIALS:
        hint = "leave values out, or let Optuna choose some of them: search.kind optuna"
        yield FieldError(field=_FIELDS, message=f"{trials} combinations are more than {MAX_TRIALS}", hint=hint)
        return  # comparing so many values would take long
    for one, other in combinations(sorted(body.search.fields), 2):
        if other.startswith(f"{one}."):
            yield FieldError(field=f"{_FIELDS}.{other}", message=f"lies inside {one!r}, which is searched too")
    for name, field in body.search.fields.items():
        values: Any = field if isinstance(field, list) else field.choices if isinstance(field, Choices) else []
        if any(type(one) is type(other) and one == other for one, other in combinations(values, 2)):
            yield FieldError(field=f"{_FIELDS}.{name}", message="holds a value twice")


def _trial(body: SweepIn, chosen: Mapping[str, Any]) -> submission.Body:
    spec = complete(body.base.spec, body.tags, body.name)
    return submission.parse(body.base.kind, put_in(spec, chosen), place=_SPEC)


def _named(body: submission.Body) -> str:
    """Equal for bodies that name the same things outside."""
    return repr((needs.models_of(body), needs.splits_of(body), getattr(body, "teacher", None), getattr(body, "blob", None)))


def _relocated(refused: InvalidRequest, chosen: Mapping[str, Any], body: SweepIn) -> list[FieldError]:
    """A refusal of a trial's spec as errors in the sweep's request: what a searched field caused is named there."""
    document = put_in(body.base.spec, chosen)
    errors = [FieldError.model_validate(error) for error in refused.members["errors"]]
    return [_at_fault(error, chosen, document) for error in errors]


def _at_fault(error: FieldError, chosen: Mapping[str, Any], document: Mapping[str, Any]) -> FieldError:
    told = ".".join(map(str, as_written(document, error.field.removeprefix(_SPEC).strip(".").split("."))))
    for name, value in chosen.items():
        if f"{told}.".startswith(f"{name}."):
            message = f"with the value {value!r}: {error.message}"
            return error.model_copy(update={"field": f"{_FIELDS}.{name}", "message": message})
    return error.model_copy(update={"field": f"{_SPEC}.{told}".rstrip(".")})


def create(session: Session, proposal: Proposal, *, owner: str) -> Sweep:
    """Store the sweep; its first trials start after the commit.

    Raises InvalidRequest for datasets and models that are not there, DatasetNotReady, RegistryAway.
    """
    _check(session, proposal)
    body = proposal.body
    sweep = Sweep(
        id=new_id(),
        name=body.name,
        owner=owner,
        tags=dict(body.tags),
        base=body.base.model_dump(mode="json"),
        search=body.search.model_dump(mode="json"),
        objective=body.objective.model_dump(mode="json"),
        parallel=body.parallel,
        max_failed=body.max_failed,
        total=total(body.search),
        created_at=db_now(session),
    )
    session.add(sweep)
    session.flush()
    signals.of(session).loops.add(SWEEPS)
    return sweep


def _check(session: Session, proposal: Proposal) -> None:
    errors: list[FieldError] = []
    for chosen, wanted in proposal.wanted:
        try:
            submission.check(session, wanted)
        except InvalidRequest as exc:
            errors += _relocated(exc, chosen, proposal.body)
    if errors:
        raise _refusal(errors)


def get(session: Session, sweep_id: str) -> Sweep:
    """Raises SweepNotFound."""
    return _there(repository.find(session, sweep_id) if is_id(sweep_id) else None, sweep_id)


def _there(sweep: Sweep | None, sweep_id: str) -> Sweep:
    if sweep is None:
        raise SweepNotFound(f"There is no sweep {sweep_id!r}.")
    return sweep


def cancel(session: Session, sweep_id: str) -> Sweep:
    """Start no more trials and stop those that run. Again is no error."""
    sweep = _there(repository.locked(session, sweep_id) if is_id(sweep_id) else None, sweep_id)
    loaded = state.load(session, sweep)
    try:
        after = loaded.standing.cancelled()
    except IllegalMove as exc:
        raise SweepNotCancellable(f"The sweep {sweep_id} has already {exc.state}.", state=exc.state) from exc
    loaded.store(session, after)
    advance.settle(session, loaded)
    signals.of(session).loops.add(SWEEPS)
    return sweep
