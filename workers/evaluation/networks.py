"""The networks that an evaluation asks: files of registered versions, fetched and opened."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from shared.contracts.evaluation import EvaluatedModel, EvaluationSpec
from shared.contracts.worker import ModelGrant
from shared.kit.mlflow_api import MlflowMissing
from shared.picosam.errors import BadWeights
from shared.picosam.evaluation.networks import Network, OnnxNetwork, TorchNetwork
from shared.picosam.placement import place, threads_for
from shared.picosam.weights import ModelConfig, load_weights
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the models that are asked."""

    slot: int
    model: str
    """name/version: an alias may point elsewhere tomorrow."""
    runtime: str
    config: ModelConfig
    network: Network

    @property
    def name(self) -> str:
        """For pictures and tables."""
        return f"{self.model} ({self.runtime})"


def open_candidates(ctx: JobContext, spec: EvaluationSpec) -> list[Candidate]:
    """All models of the job, in the spec's order. JobFailed names the one that cannot be run."""
    return [_candidate(ctx, spec, slot, wanted) for slot, wanted in enumerate(spec.models)]


def _candidate(ctx: JobContext, spec: EvaluationSpec, slot: int, wanted: EvaluatedModel) -> Candidate:
    grant = ctx.claim.models[f"models.{slot}"]
    name, folder = f"{grant.name}/{grant.version}", ctx.folder / f"model-{slot}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        config = _config(ctx, grant, folder)
        network = _network(ctx, spec, grant, folder, wanted, config)
    except BadWeights as exc:
        raise JobFailed("bad_weights", f"{name}: {exc}", exc.hint) from exc
    return Candidate(slot=slot, model=name, runtime=wanted.runtime, config=config, network=network)


def _config(ctx: JobContext, grant: ModelGrant, folder: Path) -> ModelConfig:
    path = _file(ctx, grant, folder, "config.json", "Register the model through a job of this platform.")
    try:
        return ModelConfig.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError) as exc:
        hint = "It was written by another version of this platform; import the model again."
        raise BadWeights(f"config.json cannot be read: {exc}"[:500], hint=hint) from exc


def _network(
    ctx: JobContext, spec: EvaluationSpec, grant: ModelGrant, folder: Path, wanted: EvaluatedModel, config: ModelConfig
) -> Network:
    threads, placement = threads_for(spec.compute), place(spec.compute)
    if wanted.runtime == "onnx":
        path = _file(ctx, grant, folder, "model.onnx", "Choose the runtime torch, or another version.")
        cuda = placement.device.type == "cuda"
        return OnnxNetwork(path, quantization=config.quantization, threads=threads, cuda=cuda)
    if config.quantization is not None:
        hint = "Choose the runtime onnx, or the float version that it was made from."
        message = f"{grant.name}/{grant.version} is quantized ({config.quantization}): it exists as ONNX only"
        raise JobFailed("wrong_runtime", message, hint)
    import torch  # the thread count is the whole process's: nothing is set where torch does no work

    torch.set_num_threads(threads)
    path = _file(ctx, grant, folder, "model.safetensors", "Choose the runtime onnx, or another version.")
    return TorchNetwork(load_weights(path)[0], placement)


def _file(ctx: JobContext, grant: ModelGrant, folder: Path, name: str, hint: str) -> Path:
    path = folder / name
    try:
        inputs.model_file(ctx, grant, path, name)
    except MlflowMissing as exc:
        raise JobFailed("file_missing", f"{grant.name}/{grant.version} has no {name}", hint) from exc
    return path
