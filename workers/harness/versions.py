"""Files of registered versions, fetched into the job's folder; what cannot be had is told with the version's name."""

from pathlib import Path

from pydantic import ValidationError

from shared.contracts.worker import ModelGrant
from shared.kit.mlflow_api import MlflowMissing
from shared.picosam.errors import BadWeights
from shared.picosam.weights import ModelConfig
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed


def name_of(grant: ModelGrant) -> str:
    """name/version: an alias may point elsewhere tomorrow."""
    return f"{grant.name}/{grant.version}"


def version_file(ctx: JobContext, grant: ModelGrant, folder: Path, name: str, hint: str) -> Path:
    """The version's file ``name`` in ``folder``. JobFailed with ``hint`` if it has none of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    try:
        inputs.model_file(ctx, grant, path, name)
    except MlflowMissing as exc:
        raise JobFailed("file_missing", f"{name_of(grant)} has no {name}", hint) from exc
    return path


def version_config(ctx: JobContext, grant: ModelGrant, folder: Path) -> ModelConfig:
    """What the version says of itself. JobFailed if it has no config.json, BadWeights for one that cannot be read."""
    path = version_file(ctx, grant, folder, "config.json", "Register the model through a job of this platform.")
    try:
        return ModelConfig.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as exc:
        hint = "It was written by another version of this platform; import the model again."
        raise BadWeights(f"config.json cannot be read: {exc}"[:500], hint=hint) from exc
