"""From `name/version` or `name@alias` in a user's request to the version that a worker is told."""

from sqlalchemy.orm import Session

from services.jobs.models import repository, service
from services.jobs.models.domain import REFERENCE_RULE, Reference
from services.jobs.models.errors import RegistryAway, RegistryRefused
from services.jobs.models.models import RegistrationState
from shared.contracts.worker import ModelGrant
from shared.kit.mlflow_api import MlflowApi, MlflowAway, MlflowMissing, MlflowRefused
from shared.kit.problems import InvalidRequest, Problem


def resolve(mlflow: MlflowApi, text: str, *, field: str = "body.initial_model") -> ModelGrant:
    """What ``text`` means at this moment. Ask before the transaction begins, then ``hold`` in it.

    Raises InvalidRequest for ``field`` if there is no such version, RegistryAway.
    """
    try:
        reference = Reference.parse(text)
        version = _version(mlflow, reference)
        found = mlflow.get_version(reference.name, version)
        return ModelGrant(name=reference.name, version=version, artifact_uri=service.source_of(mlflow, found))
    except ValueError as exc:
        raise InvalidRequest.of_field(field, str(exc), f"expected {REFERENCE_RULE}") from exc
    except MlflowMissing as exc:
        raise _unknown(text, field) from exc
    except MlflowAway as exc:
        raise RegistryAway(str(exc)) from exc
    except MlflowRefused as exc:
        raise RegistryRefused(f"MLflow: {exc}", code=exc.code) from exc


def _version(mlflow: MlflowApi, reference: Reference) -> int:
    if reference.version is not None:
        return reference.version
    aliases = service.aliases_of(mlflow.get_model(reference.name))
    if reference.alias not in aliases:
        raise ValueError(f"the model {reference.name!r} has no alias {reference.alias!r}")
    return aliases[reference.alias]


def look_up(mlflow: MlflowApi, text: str | None) -> ModelGrant | Problem | None:
    """As ``resolve``, but a refusal is handed on to ``hold``: a repeated request gets its first answer all the same."""
    try:
        return resolve(mlflow, text) if text is not None else None
    except Problem as problem:
        return problem


def hold(session: Session, found: ModelGrant | Problem | None, *, field: str = "body.initial_model") -> ModelGrant | None:
    """Keep the version from being deleted until this transaction, which makes a job that uses it, is committed.

    Raises what ``look_up`` found wrong, or InvalidRequest if the version's deletion has begun.
    """
    if isinstance(found, Problem):
        raise found
    if found is not None:
        _hold(session, found, field)
    return found


def _hold(session: Session, grant: ModelGrant, field: str) -> None:
    row = repository.locked_version(session, grant.name, grant.version)
    if row is not None and row.state != RegistrationState.REGISTERED:
        raise _unknown(f"{grant.name}/{grant.version}", field)


def _unknown(text: str, field: str) -> InvalidRequest:
    return InvalidRequest.of_field(field, f"there is no model version {text!r}", "`GET /v1/models` lists the models")
