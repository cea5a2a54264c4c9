"""The packaging job: a version quantized for the sensor becomes what a camera installs."""

import time
from contextlib import ExitStack
from pathlib import Path

from shared.contracts.jobs import Progress
from shared.contracts.packages import CONVERTED, GoldenTolerance, PackageManifest
from shared.contracts.packaging import PackagingSpec
from shared.contracts.tags import PARENT_VERSION_TAG
from shared.contracts.training import Compute
from shared.contracts.worker import MadePackage, RegisterModel
from shared.kit.packages.tars import pack
from shared.kit.tracking import RunSink
from shared.picosam.golden import Frames, Reference, choose
from shared.picosam.placement import threads_for
from workers.harness.context import Finished, JobContext
from workers.harness.tracked import describe, publish, tracked
from workers.packaging import contents, report
from workers.packaging.converter import Conversion
from workers.packaging.converting import check_tensors, convert_model
from workers.packaging.history import read_history
from workers.packaging.inputs import SensorModel, golden_candidates, open_model
from workers.packaging.intrinsics import intrinsics_of
from workers.packaging.made import Made, memory_figures
from workers.packaging.packager import make_rpk


def run(ctx: JobContext, spec: PackagingSpec) -> Finished:
    """Convert, try, describe, pack; rank 0 alone, since there is nothing to share out. The jobs service signs."""
    if ctx.rank > 0:
        return Finished()
    begun = time.perf_counter()
    with ExitStack() as stack:
        ctx.report(Progress(phase="fetch", done=0, unit="file"))
        model = open_model(ctx)
        tags = made_of(ctx, spec, model)
        run_tags = {**tags, "picofleet.kind": ctx.claim.kind.value, "mlflow.source.git.commit": ctx.git_commit}
        sink = stack.enter_context(tracked(ctx, run_tags))
        describe(ctx, sink, spec)
        conversion = convert_model(ctx, spec, model)
        metrics = report.memory_metrics(conversion)
        sink.metrics(metrics, step=0)
        ctx.log(f"{model.name} takes {report.told(memory_figures(conversion.memory))}")
        if spec.dry_run:
            return Finished(result=report.result(conversion, model.name, metrics))
        return _packaged(ctx, spec, sink, model, conversion, tags, begun)


def _packaged(
    ctx: JobContext,
    spec: PackagingSpec,
    sink: RunSink,
    model: SensorModel,
    conversion: Conversion,
    tags: dict[str, str],
    begun: float,
) -> Finished:
    made = _made(ctx, spec, model, conversion)
    folder, tar = ctx.folder / f"package-{ctx.attempt}", ctx.folder / f"package-{ctx.attempt}.tar"
    ctx.report(Progress(phase="package", done=0, unit="file"))
    rpk = make_rpk(conversion.folder / CONVERTED, made.intrinsics, stop_requested=ctx.stop_requested)
    manifest = contents.write(made, folder, job=ctx.job_id, git_commit=ctx.git_commit, rpk=rpk)
    pack(folder, tar)
    blob = ctx.jobs.upload_blob(tar, stop=ctx.stop_requested).digest
    ctx.raise_if_stopped()
    metrics = report.memory_metrics(conversion) | report.package_metrics(manifest, made.frames, tar)
    metrics |= {"added_seconds": time.perf_counter() - begun - conversion.seconds}
    sink.metrics(metrics, step=0)
    run_id = publish(ctx, sink, _to_show(folder, manifest), report.FOLDER)
    return Finished(
        result={**report.result(conversion, model.name, metrics), "mlflow_run_id": run_id},
        register_models=_registered(spec, model, run_id, tags, metrics),
        package=MadePackage(blob=blob),
    )


def _made(ctx: JobContext, spec: PackagingSpec, model: SensorModel, conversion: Conversion) -> Made:
    assert spec.golden is not None  # a spec without is a dry run
    ctx.report(Progress(phase="golden", done=0, unit="frame"))
    reference = Reference(model.reference, bgr=spec.input_format == "BGR", threads=threads_for(Compute()))
    check_tensors(conversion, model.config.input_size, reference.output)
    (grant,) = ctx.claim.datasets
    frames = choose(reference, golden_candidates(ctx, spec.golden, model.config), spec.golden.frames)
    _warn_of_blind_frames(ctx, frames)
    return Made(
        spec=spec,
        model=model,
        conversion=conversion,
        frames=frames,
        golden_data=f"{grant.name}/{spec.golden.dataset.split}@{grant.digest}",
        intrinsics=intrinsics_of(spec, model.config),
        history=read_history(ctx, ctx.claim.models["model"]),
    )


def _warn_of_blind_frames(ctx: JobContext, frames: Frames) -> None:
    """Of a network that has hardly learnt anything, or of grey images, even wrong input gives right codes."""
    least = GoldenTolerance().min_share
    if blind := [name for name, share in frames.mistakes.items() if share >= least]:
        ctx.log(
            f"the golden frames would not show a wrong input ({', '.join(blind)}): choose images with more colour and detail, "
            "or train the network for longer",
            level="warning",
        )


def _to_show(folder: Path, manifest: PackageManifest) -> Path:
    """A folder with the files that people and programs look at in MLflow."""
    shown = folder.with_name(f"{folder.name}-shown")
    for file in manifest.files:
        if file.path not in report.LEFT_OUT:
            target = shown / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((folder / file.path).read_bytes())
    return shown


def _registered(
    spec: PackagingSpec, model: SensorModel, run_id: str, tags: dict[str, str], metrics: dict[str, float]
) -> list[RegisterModel]:
    if spec.register_as is None:
        return []
    return [
        RegisterModel(
            output="model",
            registered_model=spec.register_as,
            run_id=run_id,
            artifact_path=report.FOLDER,
            description=f"{model.name}, packaged for cameras with the IMX500",
            tags=tags,
            metrics=metrics,
        )
    ]


def made_of(ctx: JobContext, spec: PackagingSpec, model: SensorModel) -> dict[str, str]:
    """Tags of the run and of the version."""
    tags = {
        "picofleet.job_id": ctx.job_id,
        "picofleet.git_commit": ctx.git_commit,
        PARENT_VERSION_TAG: model.name,
    }
    if spec.golden is not None:
        (grant,) = ctx.claim.datasets
        tags["picofleet.golden"] = f"{grant.name}/{spec.golden.dataset.split}@{grant.digest}"
    return tags
