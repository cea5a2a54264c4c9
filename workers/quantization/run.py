"""The quantization job: a float version becomes one of 8-bit numbers, and what that costs is measured."""

from contextlib import ExitStack
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.contracts.jobs import Progress
from shared.contracts.quantization import QuantizationSpec
from shared.contracts.serving import NETWORK_DIGEST_TAG, ServingCard
from shared.contracts.tags import PARENT_VERSION_TAG, QUANTIZATION_TAG
from shared.contracts.worker import RegisterModel
from shared.kit.tracking import RunSink
from shared.picosam.calibrating import BORDER, Confidence, measure, varied
from workers.harness.context import Finished, JobContext
from workers.harness.model_folder import describe_folder
from workers.harness.tracked import describe, publish, tracked
from workers.quantization import gates, report
from workers.quantization.inputs import FloatModel, Windows, open_float, open_windows
from workers.quantization.making import QUANTIZATION, Made, make
from workers.quantization.scoring import Compared, score

GOLDEN_CANDIDATES: Final = 16
"""Validation windows that the golden ones are chosen from."""


def run(ctx: JobContext, spec: QuantizationSpec) -> Finished:
    """Quantize, compare, report; rank 0 alone, since there is nothing to share out."""
    if ctx.rank > 0:
        return Finished()
    with ExitStack() as stack:
        ctx.report(Progress(phase="fetch", done=0, unit="file"))
        floats = open_float(ctx)
        tags = made_of(ctx, spec, floats)
        run_tags = {**tags, "picofleet.kind": ctx.claim.kind.value, "mlflow.source.git.commit": ctx.git_commit}
        sink = stack.enter_context(tracked(ctx, run_tags))
        _describe(ctx, spec, sink)
        windows = open_windows(ctx, spec, floats.config, stack)
        made = make(ctx, spec, floats, windows)
        compared = score(ctx, spec, floats, made, windows)
        return _finished(ctx, spec, sink, floats, windows, made, compared, tags)


def _finished(
    ctx: JobContext,
    spec: QuantizationSpec,
    sink: RunSink,
    floats: FloatModel,
    windows: Windows,
    made: Made,
    compared: Compared,
    tags: dict[str, str],
) -> Finished:
    """The report is logged whether or not the gates hold: who is refused must see why."""
    judged = compared.judged(windows)
    confidence = measure(judged)
    found = report.result(spec, floats, made, windows, compared) | confidence.figures
    sink.metrics(report.metrics(floats, made, compared) | confidence.figures, step=0)
    artifacts = report.log(ctx, spec, sink, made, windows, compared, found)
    _tell(ctx, made, compared)
    gates.check(spec, made, compared)
    ctx.raise_if_stopped()
    rows = varied(judged.area, GOLDEN_CANDIDATES)
    card = _write(ctx, spec, floats, made, windows.prompts[BORDER].windows.windows(rows)[0], confidence)
    run_id = publish(ctx, sink, made.folder, "model")
    urls = {name: f"{ctx.mlflow_url}/get-artifact?path={path}&run_uuid={run_id}" for name, path in artifacts.items()}
    return Finished(
        result={**found, "artifacts": urls, "mlflow_run_id": run_id},
        register_models=_registered(spec, floats, compared, made, run_id, {**tags, NETWORK_DIGEST_TAG: card.network_digest}),
    )


def _tell(ctx: JobContext, made: Made, compared: Compared) -> None:
    (name, drop), *_ = compared.drops.items()
    agreement = next(iter(compared.agreement.values()))
    ctx.log(
        f"{name} {compared.floats.figures[name]:.4f} in float, {compared.quantized.figures[name]:.4f} quantized: drop "
        f"{drop.mean:+.4f} ({drop.low:+.4f} to {drop.high:+.4f} over {drop.images} images); masks agree with IoU "
        f"{agreement.mask_iou:.4f} (5th percentile {agreement.mask_iou_p5:.4f}); {made.size_bytes:,} bytes"
    )


def _write(
    ctx: JobContext,
    spec: QuantizationSpec,
    floats: FloatModel,
    made: Made,
    images: NDArray[np.uint8],
    confidence: Confidence,
) -> ServingCard:
    """What the model folder holds beside the network; gives what serving.json says."""
    config = floats.config.model_copy(update={"quantization": QUANTIZATION[spec.platform]})
    facts = {"job_id": ctx.job_id, "git_commit": ctx.git_commit, "parent_version": floats.name, "method": spec.method.value}
    return describe_folder(made.folder, config, images, confidence=confidence, facts=facts)


def _registered(
    spec: QuantizationSpec, floats: FloatModel, compared: Compared, made: Made, run_id: str, tags: dict[str, str]
) -> list[RegisterModel]:
    if spec.register_as is None:
        return []
    return [
        RegisterModel(
            output="model",
            registered_model=spec.register_as,
            run_id=run_id,
            description=f"{floats.name}, quantized for {spec.platform.value} by {spec.method.value}",
            tags=tags,
            metrics={**compared.quantized.figures, "size_bytes": made.size_bytes},
        )
    ]


def made_of(ctx: JobContext, spec: QuantizationSpec, floats: FloatModel) -> dict[str, str]:
    """Tags of the run and of the version."""
    calibration, validation = ctx.claim.datasets
    return {
        "picofleet.job_id": ctx.job_id,
        "picofleet.git_commit": ctx.git_commit,
        PARENT_VERSION_TAG: floats.name,
        QUANTIZATION_TAG: QUANTIZATION[spec.platform],
        "picofleet.platform": spec.platform.value,
        "picofleet.method": spec.method.value,
        "picofleet.calibration": f"{calibration.name}/{spec.calibration.dataset.split}@{calibration.digest}",
        "picofleet.validation": f"{validation.name}/{spec.validation.split}@{validation.digest}",
    }


def _describe(ctx: JobContext, spec: QuantizationSpec, sink: RunSink) -> None:
    describe(ctx, sink, spec)
    for grant, context in zip(ctx.claim.datasets, ("calibration", "validation"), strict=True):
        sink.dataset(grant.name, grant.digest, context=context, source=f"picofleet:datasets/{grant.id}")
