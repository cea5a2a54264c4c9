"""The distillation job: the network learns from the masks and from a teacher's answers, which are made first and kept."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, DistillationSpec, SamTeacher
from shared.contracts.worker import DatasetGrant
from shared.picosam.loader import AnswerPool
from shared.picosam.objectives import FromTeacher
from shared.picosam.teachers.answers import AnswerReader
from shared.picosam.teachers.base import Teacher
from workers.distillation.answers import answers_are_here, open_answers
from workers.distillation.teacher import make_teacher
from workers.harness.context import Finished, JobContext
from workers.harness.fitting.inputs import Windows, training_policy
from workers.harness.fitting.job import Course, run_fitting


def run(ctx: JobContext, spec: DistillationSpec) -> Finished:
    """Ask the teacher, then fit, on all ranks; rank 0 also scores, draws and publishes."""
    teacher = functools.cache(functools.partial(make_teacher, ctx, spec))
    if ctx.rank == 0 and not _has_all_answers(ctx, spec):
        teacher()  # weights that are missing or wrong end the job here, before any window is cut
    make_course = functools.partial(_course, ctx, spec, teacher)
    return run_fitting(ctx, spec, make_course, tags={"picofleet.teacher": teacher_name(ctx, spec)})


def teacher_name(ctx: JobContext, spec: DistillationSpec) -> str:
    """For people and tags: name/version of a registered model, or sam2.1-tiny@sha256:..., or sam2.1-tiny@random."""
    if not isinstance(spec.teacher, SamTeacher):
        grant = ctx.claim.models["teacher"]
        return f"{grant.name}/{grant.version}"
    checkpoint = spec.teacher.checkpoint
    return f"{PUBLISHED_CHECKPOINTS[spec.teacher.size].name}@{checkpoint.digest if checkpoint else 'random'}"


def _asked_about(ctx: JobContext, spec: DistillationSpec) -> list[tuple[DatasetGrant, str]]:
    """The datasets and splits that the student learns from."""
    return [(grant, chosen.split) for grant, chosen in zip(ctx.claim.datasets, spec.train, strict=False)]


def _has_all_answers(ctx: JobContext, spec: DistillationSpec) -> bool:
    policy = training_policy(spec)
    return all(answers_are_here(ctx, spec, grant, split, policy) for grant, split in _asked_about(ctx, spec))


def _course(
    ctx: JobContext,
    spec: DistillationSpec,
    teacher: "functools._lru_cache_wrapper[Teacher]",
    windows: Windows,
    stack: ExitStack,
) -> Course:
    """With the answers to all training windows. The teacher is built once, if at all, and gone before the first step."""
    readers = [
        stack.enter_context(open_answers(ctx, spec, grant, split, part, windows.policy, teacher))
        for (grant, split), part in zip(_asked_about(ctx, spec), windows.train, strict=True)
    ]
    teacher.cache_clear()
    figures = _figures(readers)
    if ctx.rank == 0:
        ctx.log(f"teacher {teacher_name(ctx, spec)}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    return Course(objective=FromTeacher(spec.recipe, spec.distillation), answers=AnswerPool(readers), figures=figures)


def _figures(readers: Sequence[AnswerReader]) -> Mapping[str, float]:
    """What the teacher is worth and what its answers cost when they were made, over all training windows."""
    count = sum(reader.cost.windows for reader in readers)
    seconds = sum(reader.cost.seconds for reader in readers)
    return {
        "teacher_iou": sum(reader.cost.iou * reader.cost.windows for reader in readers) / count,
        "teacher_windows_per_second": count / seconds if seconds else 0.0,
        "teach_seconds": seconds,
    }
