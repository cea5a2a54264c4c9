"""The step in which a teacher answers for all training windows: from the cache, else from another worker, else asked here."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from shared.contracts.distillation import DistillationSpec, TeacherView
from shared.contracts.worker import DatasetGrant
from shared.picosam.data.ordered import Report
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, shard_key
from shared.picosam.teachers.answers import AnswerReader, AnswersInvalid, Asked
from shared.picosam.teachers.base import Teacher
from shared.picosam.teachers.fill import fill
from shared.picosam.teachers.views import DatasetImages, Questions
from workers.distillation.teacher import teacher_digest
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed
from workers.harness.progress import Meter

_LOOK_EVERY_S: Final = 0.2


@contextmanager
def open_answers(
    ctx: JobContext,
    spec: DistillationSpec,
    grant: DatasetGrant,
    split: str,
    windows: ShardReader,
    policy: ShardPolicy,
    make_teacher: Callable[[], Teacher],
) -> Iterator[AnswerReader]:
    """The teacher's answers to ``windows``, row for row; they stay in the cache while the block runs.

    ``make_teacher`` is called only if they have to be made here, by rank 0; answers that an earlier attempt of the job left on
    this machine are kept. Ends with ``Stopped`` when the user cancels.
    """
    asked = _asked(ctx, spec, grant, split, policy)

    def make(folder: Path) -> None:
        if (known := ctx.jobs.get_shards(asked.key)) is not None:
            return inputs.download_files(ctx, known, folder)
        _teach(ctx, spec, grant, asked, windows, policy, make_teacher(), folder)

    if ctx.rank > 0:
        _wait_for_leader(ctx, asked.key)
    with ExitStack() as stack:
        yield _opened(ctx, stack, asked, len(windows), make)


def answers_are_here(ctx: JobContext, spec: DistillationSpec, grant: DatasetGrant, split: str, policy: ShardPolicy) -> bool:
    """True if this machine's cache holds the answers to the windows of that policy: no teacher need be built."""
    return ctx.cache.has_folder(_asked(ctx, spec, grant, split, policy).key)


def _asked(ctx: JobContext, spec: DistillationSpec, grant: DatasetGrant, split: str, policy: ShardPolicy) -> Asked:
    view = spec.distillation.view
    return Asked(
        teacher=teacher_digest(ctx, spec),
        dataset=grant.digest,
        split=split,
        shards=shard_key(grant.digest, split, policy),
        view=view.value,
        context_side=spec.distillation.context_side if view is TeacherView.CONTEXT else None,
    )


def _opened(ctx: JobContext, stack: ExitStack, asked: Asked, windows: int, make: Callable[[Path], None]) -> AnswerReader:
    try:
        return _checked(stack.enter_context(ctx.cache.folder(asked.key, make)), asked, windows)
    except AnswersInvalid as exc:
        ctx.log(f"the teacher's answers in the cache are damaged and fetched anew: {exc}", level="warning")
    stack.close()
    ctx.cache.drop_folder(asked.key)
    return _checked(stack.enter_context(ctx.cache.folder(asked.key, make)), asked, windows)


def _checked(folder: Path, asked: Asked, windows: int) -> AnswerReader:
    reader = AnswerReader(folder, asked)
    if len(reader) != windows:
        raise AnswersInvalid(f"{folder} holds {len(reader)} answers to {windows} windows")
    return reader


def _teach(
    ctx: JobContext,
    spec: DistillationSpec,
    grant: DatasetGrant,
    asked: Asked,
    windows: ShardReader,
    policy: ShardPolicy,
    teacher: Teacher,
    folder: Path,
) -> None:
    """Fill the job's own folder, where a later attempt finds what is done, then move it to ``folder`` and share it."""
    own = ctx.folder / "answers" / asked.key
    _check_space(ctx.folder, windows)
    with ExitStack() as stack:
        questions = _questions(ctx, spec, grant, asked.split, windows, policy, stack)
        fill(own, asked, windows, questions, teacher, progress=_meter(ctx), stop=ctx.stop_requested)
    shutil.move(own, folder)
    inputs.share_files(ctx, asked.key, grant.id, AnswerReader(folder, asked))


def _meter(ctx: JobContext) -> Report:
    """Progress whose rate leaves out what an earlier attempt had done, which the first report tells."""
    meters: list[Meter] = []

    def report(done: int, total: int) -> None:
        if not meters:
            meters.append(Meter(ctx, "teach", "window", kept=done))
        meters[0](done, total)

    return report


def _questions(
    ctx: JobContext,
    spec: DistillationSpec,
    grant: DatasetGrant,
    split: str,
    windows: ShardReader,
    policy: ShardPolicy,
    stack: ExitStack,
) -> Questions:
    """Views of the windows; of their images too, where the teacher sees more."""
    view, side = spec.distillation.view, spec.distillation.context_side
    if view is TeacherView.WINDOW:
        return Questions(windows, policy, view)
    manifest = stack.enter_context(inputs.blob(ctx, grant.manifest))
    root = stack.enter_context(inputs.dataset_root(ctx, grant))
    return Questions(windows, policy, view, context_side=side, images=DatasetImages(manifest, root, split))


def _check_space(folder: Path, windows: ShardReader) -> None:
    """JobFailed before hours of work if the disk cannot take the answers."""
    needed, free = 2 * len(windows) * windows.canvas**2, shutil.disk_usage(folder).free
    if needed > free:
        raise JobFailed(
            "disk_full",
            f"The teacher's answers to {len(windows)} windows take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free.",
            "Free space on the worker's disk, or distil on a smaller split.",
        )


def _wait_for_leader(ctx: JobContext, key: str) -> None:
    """Until rank 0, which alone reports progress, has the answers. If it fails, this process is ended with it."""
    while not ctx.cache.has_folder(key):
        ctx.raise_if_stopped()
        time.sleep(_LOOK_EVERY_S)
