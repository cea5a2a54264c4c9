"""Is a pipeline possible? Names, references and order, before anything starts. Pure: what exists is another question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.jobs.pipelines.domain import Cycle, ordered
from services.jobs.pipelines.references import (
    RULE,
    BadReference,
    Found,
    Parameter,
    Path,
    StepValue,
    dig,
    references_in,
    walk,
)
from shared.contracts.pipelines import MAX_REFERENCES, Gate, StepIn
from shared.contracts.problems import FieldError


@dataclass(frozen=True, slots=True)
class Planned:
    """A step, its references and all that it builds on. ``at``: its place in the request, from 0."""

    at: int
    step: StepIn
    references: tuple[Found, ...]
    after: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of the step."""
        return self.step.name


class Impossible(ValueError):
    """The pipeline cannot run as it is written; ``errors`` says where and why."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors[:3]))
        self.errors = list(errors)


def field(*path: str | int) -> str:
    """A place in the request as problems name it: ``body.steps.1.spec.train``."""
    return ".".join(("body", *map(str, path)))


def plan(steps: Sequence[StepIn], parameters: Mapping[str, Any], *, all_used: bool = True) -> list[Planned]:
    """The steps in an order in which they could run. Impossible with everything that is wrong.

    ``all_used``: a parameter that no step refers to is a mistake.
    """
    errors = [*_repeated(steps)]
    planned = [_planned(at, step, errors) for at, step in enumerate(steps)]
    names = {step.name for step in steps}
    for each in planned:
        errors += _dangling(each, names, parameters)
    if all_used:
        errors += _unused(planned, parameters)
    if errors:
        raise Impossible(errors)
    return _in_order(planned)


def _repeated(steps: Sequence[StepIn]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for at, step in enumerate(steps):
        if step.name in seen:
            yield FieldError(field=field("steps", at, "name"), message=f"there are two steps {step.name!r}")
        seen.add(step.name)


def _planned(at: int, step: StepIn, errors: list[FieldError]) -> Planned:
    references: list[Found] = []
    for path, text in [*walk(step.spec, ("spec",)), *_limits(step.gates)]:
        try:
            references += references_in(text, path)
        except BadReference as exc:
            errors.append(FieldError(field=field("steps", at, *exc.path), message=str(exc), hint=f"expected {RULE}"))
    if len(references) > MAX_REFERENCES:
        message = f"{len(references)} references are more than {MAX_REFERENCES}"
        errors.append(FieldError(field=field("steps", at, "spec"), message=message))
    needed = [each.reference.step for each in references if isinstance(each.reference, StepValue)]
    return Planned(at, step, tuple(references), tuple(dict.fromkeys([*step.after, *needed])))


def _limits(gates: Sequence[Gate]) -> Iterator[tuple[Path, str]]:
    for at, gate in enumerate(gates):
        for name in ("at_least", "at_most"):
            limit = getattr(gate, name)
            if isinstance(limit, str):
                yield ("gates", at, name), limit


def _dangling(planned: Planned, names: set[str], parameters: Mapping[str, Any]) -> Iterator[FieldError]:
    for number, name in enumerate(planned.step.after):
        if name not in names:
            yield _no_step(field("steps", planned.at, "after", number), name, names)
    for found in planned.references:
        place = field("steps", planned.at, *found.path)
        if isinstance(found.reference, Parameter):
            yield from _no_parameter(place, found.reference, parameters)
        elif found.reference.step not in names:
            yield _no_step(place, found.reference.step, names)


def _no_step(place: str, name: str, names: set[str]) -> FieldError:
    return FieldError(field=place, message=f"there is no step {name!r}", hint=f"the steps are {', '.join(sorted(names))}")


def _no_parameter(place: str, wanted: Parameter, parameters: Mapping[str, Any]) -> Iterator[FieldError]:
    if wanted.name not in parameters:
        hint = f"the parameters are {', '.join(sorted(parameters))}" if parameters else "the pipeline has no parameters"
        yield FieldError(field=place, message=f"there is no parameter {wanted.name!r}", hint=hint)
        return
    try:
        dig(parameters[wanted.name], wanted.path)
    except KeyError:
        yield FieldError(field=place, message=f"the parameter {wanted.name!r} has nothing at {wanted.path!r}")


def _unused(planned: Sequence[Planned], parameters: Mapping[str, Any]) -> Iterator[FieldError]:
    used = {each.reference.name for one in planned for each in one.references if isinstance(each.reference, Parameter)}
    for name in parameters:
        if name not in used:
            hint = f"remove it, or correct its spelling; the steps use {', '.join(sorted(used)) or 'none'}"
            yield FieldError(field=field("parameters", name), message=f"no step uses a parameter {name!r}", hint=hint)


def _in_order(planned: Sequence[Planned]) -> list[Planned]:
    by_name = {each.name: each for each in planned}
    try:
        return [by_name[name] for name in ordered({each.name: each.after for each in planned})]
    except Cycle as exc:
        # The place is the first step of the circle as the request has them.
        first = min(exc.names, key=lambda name: by_name[name].at)
        at = exc.names.index(first)
        circle = [*exc.names[at:-1], *exc.names[:at], first]
        error = FieldError(
            field=_edge(by_name[first], circle[1]),
            message=f"these steps wait for each other: {' -> '.join(circle)}",
            hint="a step can only build on steps that do not build on it",
        )
        raise Impossible([error]) from exc


def _edge(planned: Planned, before: str) -> str:
    """Where a step says that it builds on ``before``."""
    for number, name in enumerate(planned.step.after):
        if name == before:
            return field("steps", planned.at, "after", number)
    for found in planned.references:
        if isinstance(found.reference, StepValue) and found.reference.step == before:
            return field("steps", planned.at, *found.path)
    return field("steps", planned.at)
