"""The quantization job: a float version becomes one of 8-bit numbers, and what that costs is measured."""

from contextlib import ExitStack

from shared.contracts.jobs import Progress
from shared.contracts.models import PARENT_VERSION_TAG, QUANTIZATION_TAG
from shared.contracts.quantization import QuantizationSpec
from shared.contracts.worker import RegisterModel
from shared.kit.tracking import RunSink
from workers.harness.context import Finished, JobContext
from workers.harness.model_folder import describe_folder
from workers.harness.tracked import describe, publish, tracked
from workers.quantization import gates, report
from workers.quantization.inputs import FloatModel, Windows, open_float, open_windows
from workers.quantization.making import QUANTIZATION, Made, make
from workers.quantization.scoring import Compared, score


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
    sink.metrics(report.metrics(floats, made, compared), step=0)
    found = report.result(spec, floats, made, windows, compared)
    artifacts = report.log(ctx, spec, sink, made, windows, compared, found)
    _tell(ctx, made, compared)
    gates.check(spec, made, compared)
    ctx.raise_if_stopped()
    run_id = _publish(ctx, spec, sink, floats, windows, made)
    urls = {name: f"{ctx.mlflow_url}/get-artifact?path={path}&run_uuid={run_id}" for name, path in artifacts.items()}
    return Finished(
        result={**found, "artifacts": urls, "mlflow_run_id": run_id},
        register_models=_registered(spec, floats, compared, made, run_id, tags),
    )


def _tell(ctx: JobContext, made: Made, compared: Compared) -> None:
    (name, drop), *_ = compared.drops.items()
    agreement = next(iter(compared.agreement.values()))
    ctx.log(
        f"{name} {compared.floats.figures[name]:.4f} in float, {compared.quantized.figures[name]:.4f} quantized: drop "
        f"{drop.mean:+.4f} ({drop.low:+.4f} to {drop.high:+.4f} over {drop.images} images); masks agree with IoU "
        f"{agreement.mask_iou:.4f} (5th percentile {agreement.mask_iou_p5:.4f}); {made.size_bytes:,} bytes"
    )


def _publish(ctx: JobContext, spec: QuantizationSpec, sink: RunSink, floats: FloatModel, windows: Windows, made: Made) -> str:
    """The model folder, and the wait until MLflow has all of it; the run's id."""
    config = floats.config.model_copy(update={"quantization": QUANTIZATION[spec.platform]})
    facts = {"job_id": ctx.job_id, "git_commit": ctx.git_commit, "parent_version": floats.name, "method": spec.method.value}
    describe_folder(made.folder, config, windows.calibration, facts=facts)
    return publish(ctx, sink, made.folder, "model")


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
