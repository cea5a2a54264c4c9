"""What a fitted network leaves behind: scores, pictures, the model folder, a version to register."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from torch import nn

from shared.contracts.jobs import Progress
from shared.contracts.serving import NETWORK_DIGEST_TAG, ServingCard
from shared.contracts.training import FittingSpec
from shared.contracts.windows import Border
from shared.contracts.worker import RegisterModel
from shared.picosam import pictures
from shared.picosam.calibrating import BORDER, Confidence, Judged, measure, varied
from shared.picosam.model import build_model
from shared.picosam.state import TrainState, chosen_weights
from shared.picosam.weights import ModelConfig
from workers.harness.context import Finished, JobContext
from workers.harness.fitting.hooks import FittingHooks
from workers.harness.fitting.lineage import named_data
from workers.harness.fitting.scoring import Scores, draw_samples
from workers.harness.tracked import publish

_CHECKED_WINDOWS: Final = 64
"""Real windows, with masks of all sizes, on which the exported network is compared with torch's."""

_VERBS: Final = {"training": "trained", "distillation": "distilled"}


def completed(
    ctx: JobContext,
    spec: FittingSpec,
    state: TrainState,
    hooks: FittingHooks,
    made_of: Mapping[str, str],
    figures: Mapping[str, float],
) -> Finished:
    """Score the chosen weights on all prompts, draw, export and publish them. ``figures`` join the result."""
    model = build_model(spec.recipe.architecture)
    model.load_state_dict(chosen_weights(state, spec.recipe))
    model = hooks.scorer.placement.put(model).eval()
    settings = spec.evaluation
    scores = hooks.scorer.score(model, limit=settings.max_prompts, mask_ap=settings.mask_ap)
    judged = hooks.scorer.judged(scores)
    confidence = measure(judged)
    hooks.sink.metrics(scores.figures | confidence.figures, step=state.step)
    hooks.history.add(state.step, scores.figures)
    artifacts = _draw(ctx, spec, model, scores, confidence, hooks)
    ctx.raise_if_stopped()
    card = _write(ctx, spec, model.cpu(), judged, confidence, hooks)
    run_id = publish(ctx, hooks.sink, _folder(ctx), "model")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in sorted(scores.figures.items()) if name.startswith("miou"))
    ctx.log(f"finished: {shown}")
    return Finished(
        result={**figures, **confidence.figures, **_result(ctx, scores, state, hooks, run_id, artifacts)},
        register_models=_registered(ctx, spec, scores, run_id, {**made_of, NETWORK_DIGEST_TAG: card.network_digest}),
    )


def _draw(
    ctx: JobContext, spec: FittingSpec, model: nn.Module, scores: Scores, confidence: Confidence, hooks: FittingHooks
) -> dict[str, str]:
    """Log the final pictures; their artifact paths by name."""
    ctx.report(Progress(phase="pictures", done=0, unit="picture"))
    folder = ctx.folder / "pictures"
    windows, ious = hooks.scorer.windows[Border.AUTHORS], scores.by_border[Border.AUTHORS].iou
    files = {"curves": hooks.history.draw(folder), "iou_by_size": folder / "iou_by_size.png"}
    pictures.iou_histogram(ious, windows.area[: len(ious)], files["iou_by_size"])
    if confidence.reliability:
        files["confidence"] = folder / "confidence.png"
        pictures.reliability(confidence.reliability, files["confidence"])
    if spec.evaluation.pictures:
        # The same samples as in the interim evaluations, so that the pictures can be compared.
        among = spec.evaluation.interim_prompts or len(windows)
        files["samples"] = draw_samples(hooks.scorer.samples(model, among=among, count=spec.evaluation.pictures), folder)
    artifacts = {name: f"final/{path.name}" for name, path in files.items()}
    for name, path in files.items():
        hooks.sink.artifact(path, artifacts[name])
    return artifacts


def _folder(ctx: JobContext) -> Path:
    return ctx.folder / "model"


def _write(
    ctx: JobContext, spec: FittingSpec, model: nn.Module, judged: Judged, confidence: Confidence, hooks: FittingHooks
) -> ServingCard:
    """Write the model folder, and prove that the export agrees with torch; what serving.json says."""
    from workers.harness.model_folder import write_model_folder  # imports onnx and onnxruntime: not before they are needed

    ctx.report(Progress(phase="export", done=0, unit="file"))
    images, _ = hooks.scorer.windows[BORDER].windows(varied(judged.area, _CHECKED_WINDOWS))
    config = ModelConfig(architecture=spec.recipe.architecture, window=spec.recipe.window, recipe=spec.recipe)
    facts = {"job_id": ctx.job_id, "git_commit": ctx.git_commit}
    agreement, card = write_model_folder(_folder(ctx), model, config, images, confidence=confidence, facts=facts)
    hooks.sink.metrics(
        {"export_max_abs_difference": agreement.max_abs, "export_pixel_agreement": agreement.pixel_agreement},
        step=spec.recipe.steps,
    )
    return card


def _result(
    ctx: JobContext, scores: Scores, state: TrainState, hooks: FittingHooks, run_id: str, artifacts: Mapping[str, str]
) -> dict[str, Any]:
    urls = {name: f"{ctx.mlflow_url}/get-artifact?path={path}&run_uuid={run_id}" for name, path in artifacts.items()}
    prompts = len(scores.by_border[Border.AUTHORS])
    fitting = {"loss": None, **hooks.losses, "steps": state.step, "prompts": prompts}
    return {**scores.figures, **fitting, "artifacts": urls, "mlflow_run_id": run_id}


def _registered(
    ctx: JobContext, spec: FittingSpec, scores: Scores, run_id: str, made_of: Mapping[str, str]
) -> list[RegisterModel]:
    if spec.register_as is None:
        return []
    description = f"{spec.recipe.architecture}, {_VERBS[ctx.claim.kind.value]} on {named_data(ctx, spec)}"
    if (teacher := made_of.get("picofleet.teacher")) is not None:
        description += f", teacher {teacher}"
    return [
        RegisterModel(
            output="model",
            registered_model=spec.register_as,
            run_id=run_id,
            artifact_path="model",
            description=description,
            tags=dict(made_of),
            metrics=scores.figures,
        )
    ]
