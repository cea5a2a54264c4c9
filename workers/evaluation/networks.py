"""The networks that an evaluation asks: files of registered versions, fetched and opened."""

from dataclasses import dataclass
from pathlib import Path

from shared.contracts.evaluation import EvaluatedModel, EvaluationSpec
from shared.contracts.worker import ModelGrant
from shared.picosam.errors import BadWeights
from shared.picosam.evaluation.networks import Network, OnnxNetwork, TorchNetwork
from shared.picosam.placement import place, threads_for
from shared.picosam.weights import ModelConfig, load_weights
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed
from workers.harness.versions import name_of, version_config, version_file


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
    name, folder = name_of(grant), ctx.folder / f"model-{slot}"
    try:
        config = version_config(ctx, grant, folder)
        network = _network(ctx, spec, grant, folder, wanted, config)
    except BadWeights as exc:
        raise JobFailed("bad_weights", f"{name}: {exc}", exc.hint) from exc
    return Candidate(slot=slot, model=name, runtime=wanted.runtime, config=config, network=network)


def _network(
    ctx: JobContext, spec: EvaluationSpec, grant: ModelGrant, folder: Path, wanted: EvaluatedModel, config: ModelConfig
) -> Network:
    threads, placement = threads_for(spec.compute), place(spec.compute)
    if wanted.runtime == "onnx":
        path = version_file(ctx, grant, folder, "model.onnx", "Choose the runtime torch, or another version.")
        cuda = placement.device.type == "cuda"
        return OnnxNetwork(path, quantization=config.quantization, threads=threads, cuda=cuda)
    if config.quantization is not None:
        hint = "Choose the runtime onnx, or the float version that it was made from."
        message = f"{name_of(grant)} is quantized ({config.quantization}): it exists as ONNX only"
        raise JobFailed("wrong_runtime", message, hint)
    import torch  # the thread count is the whole process's: nothing is set where torch does no work

    torch.set_num_threads(threads)
    path = version_file(ctx, grant, folder, "model.safetensors", "Choose the runtime onnx, or another version.")
    return TorchNetwork(load_weights(path)[0], placement)
