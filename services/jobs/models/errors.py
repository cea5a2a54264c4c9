"""What the model routes may refuse, and why.

NotFound
├── ModelNotFound
├── VersionNotFound
└── ArtifactNotFound
Conflict
└── VersionInUse
InvalidRequest
└── InvalidAlias
Unavailable
└── RegistryAway
RegistryRefused 502
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from services.jobs.models.domain import ALIAS_RULE
from shared.kit.mlflow_api import MlflowAway, MlflowMissing, MlflowRefused
from shared.kit.problems import Conflict, InvalidRequest, NotFound, Problem, Unavailable

_INVALID: Final = "INVALID_PARAMETER_VALUE"


class ModelNotFound(NotFound):
    """The registry has no model of this name."""

    title = "No such model"
    hint = "`GET /v1/models` lists the models"


class VersionNotFound(NotFound):
    """The model has no such version."""

    title = "No such model version"
    hint = "`GET /v1/models/{name}/versions` lists the versions"


class ArtifactNotFound(NotFound):
    """The version has no file of this name."""

    title = "No such file"
    hint = "`GET /v1/models/{name}/versions/{version}` lists the files"


class VersionInUse(Conflict):
    """``aliases``, ``versions`` and ``jobs`` name what depends on the version."""

    title = "The version is in use"
    hint = "move or delete its aliases, delete the versions made from it, and cancel the jobs that use it; then try again"


class InvalidAlias(InvalidRequest):
    """The name cannot be an alias."""

    title = "Not an alias"
    hint = ALIAS_RULE


class RegistryAway(Unavailable):
    """MLflow does not answer."""

    title = "The model registry is away"
    hint = "MLflow does not answer: see `GET /readyz`, start it again, and repeat the request; jobs go on meanwhile"


class RegistryRefused(Problem):
    """MLflow answered what we did not expect."""

    status, title = 502, "The model registry refused"
    hint = "see MLflow's own log; the version may have been changed behind the service's back"


@contextmanager
def asking_registry(missing: Problem) -> Iterator[None]:
    """Raises MLflow's failures inside the block as problems: ``missing`` if it does not know what was named, or could not."""
    try:
        yield
    except MlflowMissing as exc:
        raise missing from exc
    except MlflowAway as exc:
        raise RegistryAway(str(exc)) from exc
    except MlflowRefused as exc:
        if exc.code == _INVALID:  # a name that MLflow would never give to anything
            raise missing from exc
        raise RegistryRefused(f"MLflow: {exc}", code=exc.code) from exc
