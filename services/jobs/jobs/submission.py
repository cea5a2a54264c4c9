"""From a submission to a queued job, for every kind that can be submitted, whoever submits: a user, a pipeline, a sweep.

First `look_up`, outside of any transaction, since the registry and the blobs may be slow; then `submit` in the caller's. A
refusal that `look_up` finds is raised by `submit`: a repeated request gets its first answer all the same.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from services.jobs.jobs import needs, service, sources
from services.jobs.jobs.models import Job
from services.jobs.jobs.needs import NamedModel
from services.jobs.models import references
from services.jobs.runtime import Services
from services.jobs.teachers import service as teachers
from shared.contracts.distillation import DistillationSpec, SamTeacher
from shared.contracts.imports import ModelImportSpec
from shared.contracts.jobs import (
    DistillationSubmission,
    EvaluationSubmission,
    JobKind,
    JobParent,
    JobSpec,
    ModelImportSubmission,
    PackagingSubmission,
    QuantizationSubmission,
    TrainingSubmission,
)
from shared.contracts.packaging import PackagingSpec
from shared.contracts.worker import ModelGrant
from shared.kit.problems import InvalidRequest, Problem, field_errors

Body: TypeAlias = (
    TrainingSubmission
    | DistillationSubmission
    | EvaluationSubmission
    | QuantizationSubmission
    | PackagingSubmission
    | ModelImportSubmission
)

BODIES: Final[Mapping[JobKind, type[Body]]] = {
    JobKind.TRAINING: TrainingSubmission,
    JobKind.DISTILLATION: DistillationSubmission,
    JobKind.EVALUATION: EvaluationSubmission,
    JobKind.QUANTIZATION: QuantizationSubmission,
    JobKind.PACKAGING: PackagingSubmission,
    JobKind.MODEL_IMPORT: ModelImportSubmission,
}
"""What can be submitted. A dataset is imported by registering it, so it is not here."""

_SPEC: Final[TypeAdapter[JobSpec]] = TypeAdapter(JobSpec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A submission with what was found of all that it names outside of the database."""

    body: Body
    spec: JobSpec
    """What the job will be told: without name and tags, and with the teacher's checkpoint named."""
    place: str = "body"
    """Where the submission stands in the request, for refusals: ``body``, ``body.steps.1.spec``."""
    models: tuple[tuple[NamedModel, ModelGrant | Problem], ...] = ()
    refusal: Problem | None = None
    unknown: Collection[str] = field(default_factory=frozenset)
    """Places in the spec whose values are not known yet; what they name is not looked at."""


def parse(kind: JobKind, document: Mapping[str, Any], *, place: str = "body") -> Body:
    """A submission out of JSON. Raises InvalidRequest, its fields below ``place``, also for a kind that nobody submits."""
    if kind not in BODIES:
        raise InvalidRequest.of_field(f"{place}.kind", f"{kind.value} cannot be submitted", f"one of {', '.join(BODIES)}")
    try:
        return BODIES[kind].model_validate(document)
    except ValidationError as exc:
        errors = field_errors([{**error, "loc": (place, *error["loc"])} for error in exc.errors(include_url=False)])
        detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors[:3])
        raise InvalidRequest(detail, errors=errors) from exc


def look_up(services: Services, body: Body, *, place: str = "body", unknown: Collection[str] = frozenset()) -> Wanted:
    """Ask the registry and the blob store for what ``body`` names. Call it before the transaction; raises nothing."""
    spec = _SPEC.validate_python(body.model_dump(exclude={"name", "tags"}))
    named = [each for each in needs.models_of(spec) if not needs.is_left_out(each.field, unknown)]
    found = tuple((each, _version(services, each, place)) for each in named)
    refusal = None
    try:
        spec = _with_blobs(services, spec, place, unknown)
    except Problem as problem:
        refusal = problem
    return Wanted(body=body, spec=spec, place=place, models=found, refusal=refusal, unknown=unknown)


def _version(services: Services, named: NamedModel, place: str) -> ModelGrant | Problem:
    return references.look_up(services.mlflow, named.reference, f"{place}.{named.field}", kind=named.kind)


def _with_blobs(services: Services, spec: JobSpec, place: str, unknown: Collection[str]) -> JobSpec:
    if isinstance(spec, ModelImportSpec) and not needs.is_left_out("blob", unknown):
        _check_upload(services, spec, place)
    if isinstance(spec, PackagingSpec) and not spec.dry_run:
        services.signer.require()
    if isinstance(spec, DistillationSpec) and isinstance(spec.teacher, SamTeacher):
        if needs.is_left_out("teacher", unknown):
            return spec
        return spec.model_copy(update={"teacher": teachers.resolve(services.blobs, spec.teacher, f"{place}.teacher")})
    return spec


def _check_upload(services: Services, spec: ModelImportSpec, place: str) -> None:
    if not services.blobs.exists(spec.blob):
        hint = "upload the weights with `POST /v1/blobs` first"
        raise InvalidRequest.of_field(f"{place}.blob", f"there is no blob {spec.blob}", hint)


def check(session: Session, wanted: Wanted) -> tuple[list[service.Read], dict[str, ModelGrant]]:
    """The splits and the versions that the job will read; the versions cannot be deleted until the transaction ends.

    Raises InvalidRequest, DatasetNotReady, RegistryAway.
    """
    if wanted.refusal is not None:
        raise wanted.refusal
    held = references.hold(session, [(each.role, f"{wanted.place}.{each.field}", found) for each, found in wanted.models])
    splits = [each for each in needs.splits_of(wanted.spec) if not needs.is_left_out(each.field, wanted.unknown)]
    return sources.resolve(session, splits, wanted.place), held


def submit(
    session: Session, wanted: Wanted, *, owner: str, parent: JobParent | None = None, parent_run_id: str | None = None
) -> Job:
    """Queue the job, or raise what `check` raises.

    Names are resolved now, so that a later dataset of the same name, or an alias that moves on, changes nothing.
    """
    reads, models = check(session, wanted)
    return service.enqueue(
        session,
        spec=wanted.spec,
        owner=owner,
        name=wanted.body.name,
        tags=wanted.body.tags,
        reads=reads,
        models=models,
        parent=parent,
        parent_run_id=parent_run_id,
    )
