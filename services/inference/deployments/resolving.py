"""From the references in a specification to the versions that they name at this moment."""

from services.inference.deployments.domain import Plan
from services.inference.registry.errors import ModelUnknown, NotServable
from services.inference.registry.store import ModelStore
from shared.contracts.deployments import CpuTarget, ResolvedPart, Shadow, Traffic
from shared.contracts.problems import FieldError
from shared.kit.problems import InvalidRequest, Problem


def plan(store: ModelStore, spec: CpuTarget) -> Plan:
    """InvalidRequest with all references that are wrong; ModelsAway. It asks the registry: not for transactions."""
    wrong: list[FieldError] = []
    versions = [_part(store, part, f"body.versions.{index}.model", wrong) for index, part in enumerate(spec.versions)]
    shadow = _part(store, spec.shadow, "body.shadow.model", wrong) if spec.shadow else None
    if wrong:
        errors = [error.model_dump(exclude_none=True) for error in wrong]
        raise InvalidRequest("; ".join(f"{error.field}: {error.message}" for error in wrong[:3]), errors=errors)
    return Plan(spec=spec, versions=tuple(versions), shadow=shadow)


def _part(store: ModelStore, part: Traffic | Shadow, field: str, wrong: list[FieldError]) -> ResolvedPart:
    model = part.model
    try:
        model = store.resolve(part.model)
    except (ModelUnknown, NotServable) as exc:
        wrong.append(FieldError(field=field, message=exc.detail, hint=_hint(exc)))
    return ResolvedPart(model=model, asked=part.model, percent=part.percent, engine=part.engine)


def _hint(problem: Problem) -> str | None:
    return problem.members.get("hint", problem.hint)
