"""The training job: windows, fit, evaluate, pictures, export, publish."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Final

import numpy as np
from torch import nn

from shared.contracts.jobs import Progress
from shared.contracts.training import Border, TrainingSpec
from shared.contracts.worker import RegisterModel
from shared.kit.environment import environment_report
from shared.kit.tracking import RunSink
from shared.picosam import checkpoint, parallel, pictures
from shared.picosam.checkpoint import CheckpointError
from shared.picosam.fit import Ending, fit
from shared.picosam.model import build_model
from shared.picosam.placement import place
from shared.picosam.state import TrainState, chosen_weights, new_state
from shared.picosam.weights import ModelConfig
from workers.harness.checkpoints import Checkpoints
from workers.harness.context import Finished, JobContext, Stopped
from workers.harness.fitting.hooks import History, TrainingHooks
from workers.harness.fitting.inputs import Windows, initial_model, open_windows
from workers.harness.fitting.scoring import Scorer, Scores, draw_samples
from workers.harness.tracked import publish, tracked

_CHECKED_WINDOWS: Final = 64
"""Real windows on which the exported network is compared with torch's."""


def run(ctx: JobContext, spec: TrainingSpec) -> Finished:
    """Train, on all ranks; rank 0 also scores, draws and publishes."""
    with ExitStack() as stack:
        if ctx.rank > 0:
            return _follow(ctx, spec, open_windows(ctx, spec, stack))
        sink = stack.enter_context(tracked(ctx, _run_tags(ctx, spec)))
        _describe(ctx, spec, sink)
        return _lead(ctx, spec, open_windows(ctx, spec, stack), sink)


def _follow(ctx: JobContext, spec: TrainingSpec, windows: Windows) -> Finished:
    state = _state(ctx, spec, Checkpoints(ctx))
    with parallel.process_group():
        fit(state, spec.recipe, spec.compute, windows.train, _NoHooks())
    return Finished()


def _lead(ctx: JobContext, spec: TrainingSpec, windows: Windows, sink: RunSink) -> Finished:
    scorer = Scorer(ctx, windows.validation, place(spec.compute), spec.recipe.window.label)
    history = History(ctx.folder / "history.json")
    with Checkpoints(ctx) as checkpoints:
        state = _state(ctx, spec, checkpoints)
        history.load(state.step)
        hooks = TrainingHooks(ctx, spec, sink, scorer, checkpoints, history)
        with parallel.process_group():
            ending = fit(state, spec.recipe, spec.compute, windows.train, hooks)
        if ending is Ending.STOPPED:
            hooks.on_checkpoint(state)
            raise Stopped
    ctx.log(f"training ended after step {state.step} ({ending})")
    return _complete(ctx, spec, state, hooks)


def _state(ctx: JobContext, spec: TrainingSpec, checkpoints: Checkpoints) -> TrainState:
    """The newest checkpoint that can be read, else the state before the first step."""
    start = initial_model(ctx, spec)
    for path in checkpoints.candidates():
        state = new_state(spec.recipe, spec.compute, start)
        try:
            checkpoint.restore(state, spec.recipe, path)
        except CheckpointError as exc:
            ctx.log(f"{exc}; an older one is tried", level="warning")
            continue
        if ctx.rank == 0:
            ctx.log(f"resumed at step {state.step} of {spec.recipe.steps}")
        return state
    return new_state(spec.recipe, spec.compute, start)


def _complete(ctx: JobContext, spec: TrainingSpec, state: TrainState, hooks: TrainingHooks) -> Finished:
    model = build_model(spec.recipe.architecture)
    model.load_state_dict(chosen_weights(state, spec.recipe))
    model = hooks.scorer.placement.put(model).eval()
    settings = spec.evaluation
    scores = hooks.scorer.score(model, limit=settings.max_prompts, mask_ap=settings.mask_ap)
    hooks.sink.metrics(scores.figures, step=state.step)
    hooks.history.add(state.step, scores.figures)
    artifacts = _draw(ctx, spec, model, scores, hooks)
    ctx.raise_if_stopped()
    run_id = _publish(ctx, spec, model.cpu(), hooks)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in sorted(scores.figures.items()) if name.startswith("miou"))
    ctx.log(f"finished: {shown}")
    return Finished(
        result=_result(ctx, scores, state, hooks, run_id, artifacts),
        register_models=_registered(ctx, spec, scores, run_id),
    )


def _draw(ctx: JobContext, spec: TrainingSpec, model: nn.Module, scores: Scores, hooks: TrainingHooks) -> dict[str, str]:
    """Log the final pictures; their artifact paths by name."""
    ctx.report(Progress(phase="pictures", done=0, unit="picture"))
    folder = ctx.folder / "pictures"
    windows, ious = hooks.scorer.windows[Border.AUTHORS], scores.by_border[Border.AUTHORS].iou
    files = {"curves": hooks.history.draw(folder), "iou_by_size": folder / "iou_by_size.png"}
    pictures.iou_histogram(ious, windows.area[: len(ious)], files["iou_by_size"])
    if spec.evaluation.pictures:
        # The same samples as in the interim evaluations, so that the pictures can be compared.
        among = spec.evaluation.interim_prompts or len(windows)
        files["samples"] = draw_samples(hooks.scorer.samples(model, among=among, count=spec.evaluation.pictures), folder)
    artifacts = {name: f"final/{path.name}" for name, path in files.items()}
    for name, path in files.items():
        hooks.sink.artifact(path, artifacts[name])
    return artifacts


def _publish(ctx: JobContext, spec: TrainingSpec, model: nn.Module, hooks: TrainingHooks) -> str:
    """Write the model folder, prove that the export agrees with torch, and log it; the run's id."""
    from workers.harness.model_folder import write_model_folder  # imports onnx and onnxruntime: not before they are needed

    ctx.report(Progress(phase="export", done=0, unit="file"))
    folder = ctx.folder / "model"
    windows = hooks.scorer.windows[Border.PAD]
    images, _ = windows.windows(np.arange(min(_CHECKED_WINDOWS, len(windows))))
    config = ModelConfig(architecture=spec.recipe.architecture, window=spec.recipe.window, recipe=spec.recipe)
    facts = {"job_id": ctx.job_id, "git_commit": ctx.git_commit}
    agreement = write_model_folder(folder, model, config, images, facts=facts)
    hooks.sink.metrics(
        {"export_max_abs_difference": agreement.max_abs, "export_pixel_agreement": agreement.pixel_agreement},
        step=spec.recipe.steps,
    )
    return publish(ctx, hooks.sink, folder, "model")


def _result(
    ctx: JobContext, scores: Scores, state: TrainState, hooks: TrainingHooks, run_id: str, artifacts: Mapping[str, str]
) -> dict[str, Any]:
    urls = {name: f"{ctx.mlflow_url}/get-artifact?path={path}&run_uuid={run_id}" for name, path in artifacts.items()}
    prompts = len(scores.by_border[Border.AUTHORS])
    training = {"loss": hooks.figures.get("loss"), "steps": state.step, "prompts": prompts}
    return {**scores.figures, **training, "artifacts": urls, "mlflow_run_id": run_id}


def _registered(ctx: JobContext, spec: TrainingSpec, scores: Scores, run_id: str) -> list[RegisterModel]:
    if spec.register_as is None:
        return []
    description = f"{spec.recipe.architecture}, trained on {_named_data(ctx, spec)}"
    return [
        RegisterModel(
            output="model",
            registered_model=spec.register_as,
            run_id=run_id,
            artifact_path="model",
            description=description,
            tags=_lineage(ctx, spec),
            metrics=scores.figures,
        )
    ]


def _lineage(ctx: JobContext, spec: TrainingSpec) -> dict[str, str]:
    """What the model was made of, as tags of its run and of its version."""
    *train, validation = ctx.claim.datasets
    digests = [f"{grant.name}/{chosen.split}@{grant.digest}" for grant, chosen in zip(train, spec.train, strict=True)]
    tags = {
        "picofleet.job_id": ctx.job_id,
        "picofleet.git_commit": ctx.git_commit,
        "picofleet.train": ", ".join(digests),
        "picofleet.validation": f"{validation.name}/{spec.validation.split}@{validation.digest}",
    }
    if (initial := ctx.claim.models.get("initial_model")) is not None:
        tags["picofleet.initial_model"] = f"{initial.name}/{initial.version}"
    return tags


def _run_tags(ctx: JobContext, spec: TrainingSpec) -> dict[str, str]:
    return {**_lineage(ctx, spec), "picofleet.kind": "training", "mlflow.source.git.commit": ctx.git_commit}


def _named_data(ctx: JobContext, spec: TrainingSpec) -> str:
    return " + ".join(f"{grant.name}/{chosen.split}" for grant, chosen in zip(ctx.claim.datasets, spec.train, strict=False))


def _describe(ctx: JobContext, spec: TrainingSpec, sink: RunSink) -> None:
    """Parameters, environment and datasets: all that is known before the first step."""
    sink.params(spec.model_dump(mode="json", exclude={"kind", "spec_version"}))
    sink.artifact_json(spec.model_dump(mode="json"), "config/spec.json")
    sink.artifact_json({**environment_report(), "worker": ctx.environment}, "config/environment.json")
    *train, validation = ctx.claim.datasets
    for grant in train:
        sink.dataset(grant.name, grant.digest, context="training", source=f"picofleet:datasets/{grant.id}")
    sink.dataset(validation.name, validation.digest, context="validation", source=f"picofleet:datasets/{validation.id}")


class _NoHooks:
    """For the ranks beside rank 0, whose hooks the loop never calls."""

    def stop_requested(self) -> bool:
        """Decided by rank 0."""
        return False

    def on_step(self, report: object) -> None:
        """Rank 0 reports."""

    def on_eval(self, state: object) -> None:
        """Rank 0 scores."""

    def on_checkpoint(self, state: object) -> None:
        """Rank 0 writes."""
