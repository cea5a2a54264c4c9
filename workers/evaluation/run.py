"""The evaluation job: models, prompts, answers, what they are worth, pictures."""

import json
from contextlib import ExitStack

from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.jobs import Progress
from shared.contracts.windows import WindowPolicy
from shared.kit.tracking import RunSink
from workers.evaluation import report
from workers.evaluation.networks import Candidate, open_candidates
from workers.evaluation.prompts import category_names, open_prompts
from workers.evaluation.scoring import baselines, differences, score
from workers.harness.context import Finished, JobContext
from workers.harness.errors import JobFailed
from workers.harness.tracked import describe, publish, tracked


def run(ctx: JobContext, spec: EvaluationSpec) -> Finished:
    """Evaluate; rank 0 alone, since there is nothing to share out."""
    if ctx.rank > 0:
        return Finished()
    with ExitStack() as stack:
        ctx.report(Progress(phase="fetch", done=0, unit="file"))
        candidates = open_candidates(ctx, spec)
        policies = _policies(ctx, spec, candidates)
        sink = stack.enter_context(tracked(ctx, _run_tags(ctx, spec, candidates)))
        _describe(ctx, spec, sink)
        return _evaluate(ctx, spec, candidates, policies, sink, stack)


def _evaluate(
    ctx: JobContext,
    spec: EvaluationSpec,
    candidates: list[Candidate],
    policies: list[WindowPolicy],
    sink: RunSink,
    stack: ExitStack,
) -> Finished:
    sets = open_prompts(ctx, spec, policies, stack)
    scores = score(ctx, spec, candidates, sets)
    simple = baselines(ctx, spec, sets)
    for name, each in simple.items():
        shown = ", ".join(f"{figure} {value:.4f}" for figure, value in each.figures.items() if figure in each.ious)
        ctx.log(f"{name}, which needs no network: {shown}")
    ctx.report(Progress(phase="compare", done=0, unit="model"))
    compared = differences(spec, scores, sets)
    sink.metrics(report.metrics(scores, simple, compared), step=0)
    artifacts = report.log_tables(sink, candidates, sets, scores, category_names(ctx))
    artifacts |= report.draw(ctx, spec, sink, candidates, sets, scores, simple, compared)
    ctx.raise_if_stopped()
    found = report.result(candidates, sets, scores, simple, compared)
    run_id = _logged(ctx, sink, found)
    urls = {name: f"{ctx.mlflow_url}/get-artifact?path={path}&run_uuid={run_id}" for name, path in artifacts.items()}
    return Finished(result={**found, "artifacts": urls, "mlflow_run_id": run_id})


def _logged(ctx: JobContext, sink: RunSink, found: dict[str, object]) -> str:
    """The result as a file of the run, and the wait until MLflow has all of it; the run's id."""
    folder = ctx.folder / "result"
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(found, indent=2, sort_keys=True))
    return publish(ctx, sink, folder, "evaluation")


def _policies(ctx: JobContext, spec: EvaluationSpec, candidates: list[Candidate]) -> list[WindowPolicy]:
    """The windows to ask with: the spec's, else those that the first model was trained on. JobFailed where inputs differ."""
    policies = list(spec.windows) or [candidates[0].config.window]
    for candidate in candidates:
        own = candidate.config.window
        if own.label not in {policy.label for policy in policies}:
            ctx.log(f"{candidate.name} was made for windows of the kind {own.label}, which are not asked", level="warning")
        if candidate.config.input_size != candidates[0].config.input_size:
            message = f"{candidate.name} takes windows of {candidate.config.input_size} cells, {candidates[0].name} others"
            raise JobFailed("wrong_input_size", message, "Compare models of one input size.")
    return policies


def _run_tags(ctx: JobContext, spec: EvaluationSpec, candidates: list[Candidate]) -> dict[str, str]:
    (grant,) = ctx.claim.datasets
    return {
        "picofleet.kind": ctx.claim.kind.value,
        "picofleet.job_id": ctx.job_id,
        "picofleet.git_commit": ctx.git_commit,
        "picofleet.models": ", ".join(candidate.name for candidate in candidates),
        "picofleet.dataset": f"{grant.name}/{spec.dataset.split}@{grant.digest}",
        "mlflow.source.git.commit": ctx.git_commit,
    }


def _describe(ctx: JobContext, spec: EvaluationSpec, sink: RunSink) -> None:
    (grant,) = ctx.claim.datasets
    describe(ctx, sink, spec)
    sink.dataset(grant.name, grant.digest, context="evaluation", source=f"picofleet:datasets/{grant.id}")
