"""What a fitted network was made of, as tags, parameters and datasets of its run and of its version."""

from collections.abc import Mapping

from shared.contracts.training import FittingSpec
from shared.kit.tracking import RunSink
from workers.harness import tracked
from workers.harness.context import JobContext


def made_of(ctx: JobContext, spec: FittingSpec) -> dict[str, str]:
    """Tags of the job's run and of the version that it registers."""
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


def run_tags(ctx: JobContext, tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of the run: ``tags`` and what only a run carries."""
    return {**tags, "picofleet.kind": ctx.claim.kind.value, "mlflow.source.git.commit": ctx.git_commit}


def named_data(ctx: JobContext, spec: FittingSpec) -> str:
    """What it was fitted on, for a reader."""
    return " + ".join(f"{grant.name}/{chosen.split}" for grant, chosen in zip(ctx.claim.datasets, spec.train, strict=False))


def describe(ctx: JobContext, spec: FittingSpec, sink: RunSink) -> None:
    """Parameters, environment and datasets: all that is known before the first step."""
    tracked.describe(ctx, sink, spec)
    *train, validation = ctx.claim.datasets
    for grant in train:
        sink.dataset(grant.name, grant.digest, context="training", source=f"picofleet:datasets/{grant.id}")
    sink.dataset(validation.name, validation.digest, context="validation", source=f"picofleet:datasets/{validation.id}")
