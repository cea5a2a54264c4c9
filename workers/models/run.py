"""The import of existing weights: read them as hostile input, export them, and hand them to the registry."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shared.contracts.imports import ModelImportSpec
from shared.contracts.jobs import Progress
from shared.contracts.serving import NETWORK_DIGEST_TAG, ServingCard
from shared.contracts.worker import RegisterModel
from shared.kit.tracking import RunSink
from shared.picosam.errors import BadWeights
from shared.picosam.prompt import INPUT_SIZE
from shared.picosam.weights import ModelConfig, load_any
from workers.harness import inputs
from workers.harness.context import Finished, JobContext
from workers.harness.errors import JobFailed
from workers.harness.protocol import ProtocolError
from workers.harness.tracked import describe, publish, tracked


def run(ctx: JobContext, spec: ModelImportSpec) -> Finished:
    """Import one network: its version comes into being when the service accepts the result."""
    ctx.report(Progress(phase="fetch", done=0, unit="file"))
    model = _loaded(ctx, spec)
    ctx.raise_if_stopped()
    tags = _lineage(ctx, spec)
    with tracked(ctx, {**tags, "picofleet.kind": "model_import", "mlflow.source.git.commit": ctx.git_commit}) as sink:
        describe(ctx, sink, spec, left_out={"description"})
        run_id, card = _publish(ctx, spec, model, sink)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    ctx.log(f"imported {parameters:,} parameters of {spec.architecture} from {spec.format.value}")
    return Finished(
        result={"parameters": parameters, "mlflow_run_id": run_id},
        register_models=[
            RegisterModel(
                output="model",
                registered_model=spec.register_as,
                run_id=run_id,
                description=spec.description or f"{spec.architecture}, imported from {spec.format.value}",
                tags={**tags, NETWORK_DIGEST_TAG: card.network_digest},
            )
        ],
    )


def _loaded(ctx: JobContext, spec: ModelImportSpec) -> nn.Module:
    try:
        with inputs.blob(ctx, spec.blob) as path:
            return load_any(path, spec.format, architecture=spec.architecture, input_scale=spec.input_scale)
    except BadWeights as exc:
        raise JobFailed("bad_weights", str(exc), exc.hint) from exc
    except ProtocolError as exc:
        if exc.status != 404:
            raise
        hint = "Upload the file again with `POST /v1/blobs`, then retry the job."
        raise JobFailed("weights_gone", f"The blob {spec.blob} is not there any more.", hint) from exc


def _publish(ctx: JobContext, spec: ModelImportSpec, model: nn.Module, sink: RunSink) -> tuple[str, ServingCard]:
    """Write the model folder, prove that the export agrees with torch, and log it; the run's id and what serving.json says."""
    from workers.harness.model_folder import write_model_folder  # imports onnx and onnxruntime: not before they are needed

    ctx.report(Progress(phase="export", done=0, unit="file"))
    folder: Path = ctx.folder / "model"
    facts = {"job_id": ctx.job_id, "git_commit": ctx.git_commit, "imported_from": spec.blob}
    config = ModelConfig(architecture=spec.architecture)
    agreement, card = write_model_folder(folder, model, config, _windows(), facts=facts)
    figures = {"export_max_abs_difference": agreement.max_abs, "export_pixel_agreement": agreement.pixel_agreement}
    sink.metrics(figures, step=0)
    return publish(ctx, sink, folder, "model"), card


def _lineage(ctx: JobContext, spec: ModelImportSpec) -> dict[str, str]:
    """What the model was made of, as tags of its run and of its version."""
    return {
        "picofleet.imported_from": spec.blob,
        "picofleet.imported_format": spec.format.value,
        "picofleet.imported_input_scale": spec.input_scale,
        "picofleet.git_commit": ctx.git_commit,
    }


def _windows(count: int = 16) -> NDArray[np.uint8]:
    """uint8 [count, S, S, 3]: discs of growing size on a colour gradient, then noise. An import has no images; the same ones
    each time.
    """
    windows = np.random.default_rng(0).integers(0, 256, (count, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:INPUT_SIZE, 0:INPUT_SIZE]
    gradient = np.stack([rows * 2, columns * 2, np.full_like(rows, 96)], axis=-1).astype(np.uint8)
    away = np.hypot(rows - INPUT_SIZE / 2, columns - INPUT_SIZE / 2)
    for number in range(count // 2):
        inside = away < INPUT_SIZE * (number + 1) / (count + 2)
        windows[number] = np.where(inside[..., None], np.array((220, 180, 40), np.uint8), gradient)
    return windows
