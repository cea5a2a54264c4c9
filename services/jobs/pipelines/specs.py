"""Do the specs of a pipeline make sense? Each is read with values for its references before anything starts. Pure.

Parameters are known. A model that a step will register is known by name. A figure is not: a spec is accepted if some
plausible value fits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any, Final

from services.jobs.jobs import submission
from services.jobs.pipelines.plan import Impossible, Planned, field
from services.jobs.pipelines.references import BadReference, Parameter, Path, Reference, StepValue, dig, pieces, replace
from shared.contracts.problems import FieldError
from shared.kit.problems import InvalidRequest

_PLAUSIBLE: Final = (0.5, 1, 1000, "text", True)
"""Values that a figure of a result might have."""
_TRIES: Final = 200
_SOME_JOB: Final = "00000000-0000-7000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Readable:
    """A step whose spec makes sense. ``unknown``: places in it that only an earlier step will fill."""

    planned: Planned
    body: submission.Body
    unknown: frozenset[str]

    @property
    def place(self) -> str:
        """Of the spec in the request."""
        return field("steps", self.planned.at, "spec")


def complete(spec: Mapping[str, Any], tags: Mapping[str, str], name: str) -> dict[str, Any]:
    """A step's spec with what the pipeline adds to each: its tags, and a name for the job. ``name``: of both."""
    own = spec.get("tags") or {}
    return {"name": name[:128], **spec, "tags": {**tags, **own} if isinstance(own, dict) else own}


def read(
    planned: Sequence[Planned], parameters: Mapping[str, Any], tags: Mapping[str, str], *, of_template: bool = False
) -> list[Readable]:
    """The steps, in the order given, which must be one in which they could run. Impossible with all that is wrong."""
    errors: list[FieldError] = []
    found: list[Readable] = []
    bodies: dict[str, submission.Body | None] = {}
    for each in planned:
        try:
            readable = _read(each, parameters, tags, bodies, of_template)
        except Impossible as exc:
            errors += exc.errors
            bodies[each.name] = None
        else:
            found.append(readable)
            bodies[each.name] = readable.body
    if errors:
        raise Impossible(errors)
    return found


def _read(
    planned: Planned,
    parameters: Mapping[str, Any],
    tags: Mapping[str, str],
    bodies: Mapping[str, submission.Body | None],
    of_template: bool,
) -> Readable:
    misplaced = list(_without_model(planned, bodies))
    if misplaced:
        raise Impossible(misplaced)
    document = complete(planned.step.spec, tags, planned.name)
    later = [found for found in planned.references if isinstance(found.reference, StepValue) and found.path[0] == "spec"]
    unknown = frozenset(".".join(map(str, found.path[1:])) for found in later)
    try:
        return Readable(planned, _body(planned, document, parameters, bodies), unknown)
    except InvalidRequest as exc:
        raise Impossible(relocated(exc, planned, of_template=of_template)) from exc


def _without_model(planned: Planned, bodies: Mapping[str, submission.Body | None]) -> Iterator[FieldError]:
    for found in planned.references:
        match found.reference:
            case StepValue(step=step, what="model") if bodies[step] is not None and registers(bodies[step]) is None:
                message = f"the step {step!r} registers no model"
                hint = "all kinds but evaluation make models, unless their register_as is null"
                yield FieldError(field=field("steps", planned.at, *found.path), message=message, hint=hint)


def registers(body: submission.Body | None) -> str | None:
    """The registered model of which the job will make a version."""
    return getattr(body, "register_as", None)


def _body(
    planned: Planned,
    document: Mapping[str, Any],
    parameters: Mapping[str, Any],
    bodies: Mapping[str, submission.Body | None],
) -> submission.Body:
    """The spec with the first plausible figures that it can be read with; the first refusal if there are none."""
    if planned.step.kind not in submission.BODIES:
        hint = f"one of {', '.join(submission.BODIES)}"
        message = f"{planned.step.kind.value} cannot be a step"
        raise Impossible([FieldError(field=field("steps", planned.at, "kind"), message=message, hint=hint)])
    figures = {each.reference for each in planned.references if getattr(each.reference, "what", "") == "result"}
    refusal: InvalidRequest | None = None
    for values in islice(product(_PLAUSIBLE, repeat=len(figures)), _TRIES):
        known = dict(zip(sorted(figures, key=str), values, strict=True))
        filled = replace(dict(document), partial(_value, parameters=parameters, bodies=bodies, figures=known))
        try:
            return submission.parse(planned.step.kind, filled, place="spec")
        except InvalidRequest as exc:
            refusal = refusal or exc
    assert refusal is not None
    raise refusal


def _value(
    reference: Reference,
    parameters: Mapping[str, Any],
    bodies: Mapping[str, submission.Body | None],
    figures: Mapping[Reference, Any],
) -> Any:
    match reference:
        case Parameter(name=name, path=path):
            return dig(parameters[name], path)
        case StepValue(step=step, what="model"):
            # Each step makes another version.
            return f"{registers(bodies[step]) or 'model'}/{1 + list(bodies).index(step)}"
        case StepValue(what="job"):
            return _SOME_JOB
    return figures[reference]


# Where a refusal belongs


def relocated(refusal: InvalidRequest, planned: Planned, *, of_template: bool = False) -> list[FieldError]:
    """A refusal of a spec, whose fields begin with ``spec`` or the spec's place, as errors in the pipeline's request.

    ``of_template``: the request has no steps but the parameters that they take.
    """
    return [_relocated(FieldError.model_validate(error), planned, of_template) for error in refusal.members["errors"]]


def _relocated(error: FieldError, planned: Planned, of_template: bool) -> FieldError:
    told = error.field.removeprefix(f"{field('steps', planned.at)}.").split(".")
    if told[0] == "spec":
        place = through_parameter(planned.step.spec, told[1:]) if of_template else None
        own = field("steps", planned.at, "spec", *as_written(planned.step.spec, told[1:]))
        return error.model_copy(update={"field": place or own})
    return error.model_copy(update={"field": field("steps", planned.at, *told)})


def as_written(document: Any, parts: Sequence[str]) -> Path:
    """``parts`` without what is not in the document: pydantic names the variant of a union among the fields."""
    path: list[str | int] = []
    for number, part in enumerate(parts):
        inside = _inside(document, part)
        if inside is _MISSING:
            if number == len(parts) - 1 or isinstance(document, str):
                path += parts[number:]
                break
            continue
        path.append(part)
        document = inside
    return tuple(path)


_MISSING: Final = object()


def _inside(document: Any, part: str) -> Any:
    if isinstance(document, dict):
        return document.get(part, _MISSING)
    if isinstance(document, list) and part.isdigit() and int(part) < len(document):
        return document[int(part)]
    return _MISSING


def through_parameter(document: Any, parts: Sequence[str]) -> str | None:
    """The place of the parameter from which the value at ``parts`` comes, if it comes from one."""
    for number, part in enumerate(parts):
        inside = _inside(document, part)
        if inside is _MISSING:
            continue
        document = inside
        if isinstance(document, str):
            parameter = _only_parameter(document)
            if parameter is None:
                return None
            rest = [*([parameter.path] if parameter.path else []), *parts[number + 1 :]]
            return field("parameters", parameter.name, *rest)
    return None


def _only_parameter(text: str) -> Parameter | None:
    try:
        match pieces(text):
            case [Parameter() as parameter]:
                return parameter
    except BadReference:
        return None
    return None
