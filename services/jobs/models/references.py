"""From `name/version` or `name@alias` in a user's request to the version that a worker is told."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from services.jobs.models import repository, service
from services.jobs.models.domain import REFERENCE_RULE, Kind, Reference
from services.jobs.models.errors import RegistryAway, RegistryRefused
from shared.contracts.tags import PACKAGE_TAG, PARENT_VERSION_TAG, QUANTIZATION_TAG
from shared.contracts.worker import ModelGrant
from shared.kit.mlflow_api import MlflowApi, MlflowAway, MlflowMissing, MlflowRefused
from shared.kit.problems import InvalidRequest, Problem

SENSOR_QUANTIZATION: Final = "fake_quant"
"""What the tag of a version says that was quantized for the sensor."""


def resolve(mlflow: MlflowApi, text: str, *, field: str = "body.initial_model", kind: Kind = Kind.NETWORK) -> ModelGrant:
    """What ``text`` means at this moment. Ask before the transaction begins, then ``hold`` in it.

    Raises InvalidRequest for ``field`` if there is no such version, or none of this ``kind``; RegistryAway.
    """
    try:
        reference = Reference.parse(text)
        version = _version(mlflow, reference)
        found = mlflow.get_version(reference.name, version)
        _require(kind, f"{reference.name}/{version}", found, field)
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


def _require(kind: Kind, name: str, found: Mapping[str, Any], field: str) -> None:
    tags = {tag["key"]: tag["value"] for tag in found.get("tags", [])}
    parent, quantized = tags.get(PARENT_VERSION_TAG), tags.get(QUANTIZATION_TAG)
    if PACKAGE_TAG in tags:
        hint = f"name the version that it was made from, {parent}" if parent else "name a version with a network"
        raise InvalidRequest.of_field(field, f"{name} is a package for cameras, not a network that a job could use", hint)
    if kind is Kind.FLOAT and quantized is not None:
        hint = f"name the float version that it was made from, {parent}" if parent else "name a float version"
        raise InvalidRequest.of_field(field, f"{name} is quantized already ({quantized}), and has no float weights", hint)
    if kind is Kind.SENSOR and quantized is None:
        hint = f"quantize it first (`picofleet quantize {name}`, platform imx500) and name the version that this makes"
        raise InvalidRequest.of_field(field, f"{name} is a float version, which the sensor cannot run", hint)
    if kind is Kind.SENSOR and quantized != SENSOR_QUANTIZATION:
        source = f"{parent}, from which it was made," if parent else "its float version"
        hint = f"quantize {source} for platform imx500 and name the version that this makes"
        raise InvalidRequest.of_field(field, f"{name} is quantized for CPUs ({quantized}), which the sensor cannot run", hint)


def look_up(
    mlflow: MlflowApi, text: str, field: str = "body.initial_model", *, kind: Kind = Kind.NETWORK
) -> ModelGrant | Problem:
    """As ``resolve``, but a refusal is handed on to ``hold``: a repeated request gets its first answer all the same."""
    try:
        return resolve(mlflow, text, field=field, kind=kind)
    except Problem as problem:
        return problem


def hold(session: Session, found: Iterable[tuple[str, str, ModelGrant | Problem]]) -> dict[str, ModelGrant]:
    """Keep versions from being deleted until this transaction, which makes a job that uses them, is committed.

    ``found``: role, field and what ``look_up`` gave. Returns the grants by role. Raises what ``look_up`` found wrong, or
    InvalidRequest for the field of a version whose deletion has begun.
    """
    grants: list[tuple[str, str, ModelGrant]] = []
    for role, field, grant in found:
        if isinstance(grant, Problem):
            raise grant
        grants.append((role, field, grant))
    # In one order, so that transactions that hold several cannot deadlock.
    for _, field, grant in sorted(grants, key=lambda each: (each[2].name, each[2].version)):
        _hold(session, grant, field)
    return {role: grant for role, _, grant in grants}


def _hold(session: Session, grant: ModelGrant, field: str) -> None:
    row = repository.locked_version(session, grant.name, grant.version)
    if row is not None and not row.is_registered:
        raise _unknown(f"{grant.name}/{grant.version}", field)


def _unknown(text: str, field: str) -> InvalidRequest:
    return InvalidRequest.of_field(field, f"there is no model version {text!r}", "`GET /v1/models` lists the models")
