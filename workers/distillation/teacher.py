"""The teacher that a distillation job names: its weights from wherever they are, looked at before anything else is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx

from shared.contracts.base import digest_of_file
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, Checkpoint, DistillationSpec, ModelTeacher, SamTeacher
from shared.picosam.placement import place
from shared.picosam.teachers.base import Teacher
from shared.picosam.teachers.registered import load_registered, registered_digest
from shared.picosam.teachers.sam import load_sam, random_sam, sam_digest
from shared.picosam.teachers.sam_weights import MAX_BYTES
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed
from workers.harness.progress import Meter

_CHUNK_BYTES: Final = 1 << 20
_TIMEOUT: Final = httpx.Timeout(30, connect=10)
_DOWNLOAD_TRIES: Final = 5


def teacher_digest(ctx: JobContext, spec: DistillationSpec) -> str:
    """Names the teacher that ``make_teacher`` would build. Of a registered model this reads its weights, a few megabytes."""
    teacher = spec.teacher
    if isinstance(teacher, ModelTeacher):
        return registered_digest(digest_of_file(_registered_file(ctx)))
    weights = teacher.checkpoint.digest if teacher.checkpoint else f"random:{spec.recipe.seed}"
    return sam_digest(teacher.size, weights, teacher.masks)


def make_teacher(ctx: JobContext, spec: DistillationSpec) -> Teacher:
    """Fetch the weights, check them and build the teacher on the job's device.

    JobFailed or BadWeights, with what to do next, if the weights are missing, not the ones that the job names, or no teacher's.
    """
    placement, teacher = place(spec.compute), spec.teacher
    device, bf16 = placement.device, placement.bf16
    if isinstance(teacher, ModelTeacher):
        path = _registered_file(ctx)
        return load_registered(path, weights=digest_of_file(path), placement=placement)
    if teacher.checkpoint is None:
        if not teacher.allow_random_weights:
            raise _no_checkpoint(teacher)
        ctx.log("the teacher has random weights: it knows nothing, and the student learns nothing from it", level="warning")
        return random_sam(teacher.size, seed=spec.recipe.seed, masks=teacher.masks, device=device, bf16=bf16)
    with _checkpoint_file(ctx, teacher.checkpoint) as path:
        digest = teacher.checkpoint.digest
        return load_sam(path, teacher.size, digest=digest, masks=teacher.masks, device=device, bf16=bf16)


def _no_checkpoint(teacher: SamTeacher) -> JobFailed:
    published = PUBLISHED_CHECKPOINTS[teacher.size]
    return JobFailed(
        "checkpoint_missing",
        f"The job names no checkpoint of SAM 2.1 {teacher.size.value}. Meta publishes it at {published.url}.",
        f"Upload it once with `picofleet teachers fetch {published.name}`, or name a copy of it in teacher.checkpoint.",
    )


@contextmanager
def _checkpoint_file(ctx: JobContext, checkpoint: Checkpoint) -> Iterator[Path]:
    """The checkpoint's file: the platform's blob of that digest, a file that this machine sees, or fetched once and cached."""
    source = checkpoint.url
    if source is None:
        with inputs.blob(ctx, checkpoint.digest) as path:
            yield path
    elif urlsplit(source).scheme in {"http", "https"}:
        with ctx.cache.blob(checkpoint.digest, lambda path: _fetch(ctx, source, checkpoint.digest, path)) as path:
            yield path
    else:
        yield _local_file(source)


def _local_file(source: str) -> Path:
    url = urlsplit(source)
    path = Path(unquote(url.path)) if url.scheme == "file" else Path(source)
    if not path.is_absolute() or not path.is_file():
        hint = (
            "Name a file by its absolute path as this worker sees it, or a URL; or upload it with `picofleet teachers fetch`."
        )
        raise JobFailed("checkpoint_missing", f"teacher.checkpoint.url: there is no file {path} on the worker's machine.", hint)
    return path


def _fetch(ctx: JobContext, url: str, digest: str, path: Path) -> None:
    """Download ``url``, going on where a broken connection left it. JobFailed if it cannot be had or is another file."""
    problem: Exception | None = None
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        for _ in range(_DOWNLOAD_TRIES):
            try:
                _stream(ctx, client, url, path)
                break
            except httpx.TransportError as exc:
                problem = exc
        else:
            raise _unreachable(url, problem or "no answer")
    if (found := digest_of_file(path)) != digest:
        hint = "The file there is not the one that the job names. Check teacher.checkpoint.digest and url."
        raise JobFailed("wrong_checkpoint", f"{url} is {found}, and not {digest}.", hint)


def _stream(ctx: JobContext, client: httpx.Client, url: str, path: Path) -> None:
    have = path.stat().st_size if path.exists() else 0
    with client.stream("GET", url, headers={"Range": f"bytes={have}-"} if have else {}) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all of it is there; the caller checks the digest
        if not answer.is_success:
            raise _unreachable(url, f"it answers {answer.status_code}")
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = have if resumed else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        meter = Meter(ctx, "fetch", "byte")
        with path.open("ab" if resumed else "wb") as file:
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                ctx.raise_if_stopped()
                done += len(chunk)
                if max(done, total) > MAX_BYTES:
                    raise JobFailed(
                        "wrong_checkpoint", f"{url} has more than {MAX_BYTES} bytes.", "Check teacher.checkpoint.url."
                    )
                file.write(chunk)
                meter(done, max(done, total))


def _unreachable(url: str, why: object) -> JobFailed:
    hint = "Check teacher.checkpoint.url, or upload the file with `picofleet teachers fetch` from a machine that reaches it."
    return JobFailed("checkpoint_missing", f"The teacher's checkpoint cannot be fetched from {url}: {why}.", hint)


def _registered_file(ctx: JobContext) -> Path:
    """The weights of the claim's teacher, downloaded once per attempt and rank."""
    path = ctx.folder / f"teacher-{ctx.rank}-{ctx.attempt}.safetensors"
    if not path.exists():
        partial = path.with_suffix(".partial")
        inputs.model_file(ctx, ctx.claim.models["teacher"], partial)
        partial.replace(path)
    return path
