"""The prompts of an evaluation: windows of each policy, under each border rule and each amount of noise."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data.manifest import read_header
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy
from shared.picosam.evaluation.answers import truth_bits
from shared.picosam.evaluation.breakdown import Asked
from shared.picosam.jitter import PromptJitter
from workers.harness import inputs
from workers.harness.context import JobContext

JITTER_SEED = 0
"""Fixed, so that all evaluations move their prompts alike and their curves can be compared."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """What one window policy asks."""

    label: str
    by_border: dict[Border, Asked]
    """In the spec's order; the first rule is the one that noise, pictures and categories are shown under."""
    by_jitter: dict[float, Asked] = field(default_factory=dict)
    """By the noise's share of the object's box, under the first rule."""

    @property
    def main(self) -> Asked:
        """The first border rule's."""
        return next(iter(self.by_border.values()))

    def windows(self) -> Mapping[Border, ShardReader]:
        """By border rule."""
        return {border: asked.windows for border, asked in self.by_border.items()}


def open_prompts(ctx: JobContext, spec: EvaluationSpec, policies: list[WindowPolicy], stack: ExitStack) -> list[PromptSet]:
    """All prompts of the job; their windows stay in the cache as long as ``stack`` is open."""
    (grant,) = ctx.claim.datasets

    def opened(policy: WindowPolicy, border: Border, share: float = 0) -> Asked:
        ctx.raise_if_stopped()
        wanted = ShardPolicy(
            window=policy.model_copy(update={"border": border}),
            max_windows=spec.max_prompts,
            jitter=PromptJitter(share=share, seed=JITTER_SEED) if share else None,
        )
        reader = stack.enter_context(inputs.shards(ctx, grant, spec.dataset.split, wanted))
        return Asked(policy.label, border, reader, truth_bits(reader))

    return [
        PromptSet(
            policy.label,
            {border: opened(policy, border) for border in spec.borders},
            {share: opened(policy, spec.borders[0], share) for share in spec.jitter},
        )
        for policy in policies
    ]


def category_names(ctx: JobContext) -> dict[int, str]:
    """The dataset's categories by id."""
    (grant,) = ctx.claim.datasets
    with inputs.blob(ctx, grant.manifest) as manifest:
        return {category.id: category.name for category in read_header(manifest).categories}
