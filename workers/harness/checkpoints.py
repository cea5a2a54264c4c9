"""Checkpoint folders: kept on this machine, uploaded in the background, found again by whoever takes the job up.

Beside each folder ``step-000000100`` lies ``step-000000100.json`` with its files' digests: a folder without it, or with other
contents, is damaged and left alone.
"""

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from shared.contracts.worker import Checkpoint, CheckpointIn
from workers.harness.context import JobContext
from workers.harness.protocol import DigestMismatch, ProtocolError, ServiceAway, StaleToken, digest_file, patiently

_KEEP: Final = 2
"""The second newest is what remains if the newest turns out damaged."""


class Checkpoints:
    """The checkpoints of one job. As a context manager it also runs the uploading thread (for rank 0).

    Uploads never hold the job up: while one is under way, or the jobs service is away, only the newest waits.
    """

    def __init__(self, ctx: JobContext, *, upload_every_s: float = 30) -> None:
        self.folder = ctx.folder / "checkpoints"
        self._ctx, self._upload_every_s = ctx, upload_every_s
        self._waiting: tuple[int, Path] | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._uploading: Path | None = None
        self._thread = threading.Thread(target=self._upload_all, name="checkpoint-upload", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def saved(self, path: Path, step: int) -> None:
        """A checkpoint folder is complete: note its digests, let it be uploaded, remove older ones."""
        digests = {file.name: digest_file(file)[0] for file in sorted(path.iterdir())}
        _write(_digests_of(path), json.dumps(digests, indent=1, sort_keys=True) + "\n")
        with self._changed:
            self._waiting = (step, path)
            self._changed.notify_all()
            kept = sorted(self.folder.glob("step-*[0-9]"))[-_KEEP:]
            for old in self.folder.glob("step-*[0-9]"):
                if old not in kept and old != self._uploading:
                    _remove(old)

    def candidates(self) -> Iterator[Path]:
        """Checkpoint folders to resume from, the best first; each was checked. What is damaged is skipped with a log line."""
        remote = self._ctx.claim.checkpoint
        for path in sorted(self.folder.glob("step-*[0-9]"), reverse=True):
            if remote is not None and _step(path) < remote.step:
                yield from self._fetched(remote)
                remote = None
            if _is_whole(path):
                if remote is not None and _step(path) == remote.step:
                    remote = None  # the same one
                yield path
            else:
                self._ctx.log(f"checkpoint {path.name} on the worker's disk is damaged and skipped", level="warning")
                _remove(path)
        if remote is not None:
            yield from self._fetched(remote)

    def _fetched(self, remote: Checkpoint) -> Iterator[Path]:
        target = self.folder / f"step-{remote.step:09d}"
        partial = self.folder / f".{target.name}.{os.getpid()}"
        try:
            self._download(remote, partial)
        except (DigestMismatch, ProtocolError) as exc:
            shutil.rmtree(partial, ignore_errors=True)
            if isinstance(exc, StaleToken):
                raise
            self._ctx.log(f"the uploaded checkpoint of step {remote.step} is skipped: {exc}", level="warning")
            return
        with contextlib.suppress(OSError):  # another rank was quicker; its bytes are the same
            partial.rename(target)
        shutil.rmtree(partial, ignore_errors=True)
        _write(_digests_of(target), json.dumps(remote.files, indent=1, sort_keys=True) + "\n")
        yield target

    def _download(self, remote: Checkpoint, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, digest in remote.files.items():
            if Path(name).name != name:
                raise ProtocolError(f"{name!r} is no file name")
            self._ctx.jobs.download_blob(digest, folder / name, stop=self._ctx.stop_requested)

    # The uploading thread

    def _upload_all(self) -> None:
        while (item := self._next()) is not None:
            begun = time.monotonic()
            try:
                self._upload(*item)
            except StaleToken:
                return  # the supervisor hears the same and ends this process
            except (ServiceAway, ProtocolError, OSError) as exc:
                self._ctx.log(f"the checkpoint of step {item[0]} was not uploaded: {exc}", level="warning")
            with self._changed:
                self._uploading = None
                self._changed.wait_for(lambda: self._closing, max(0, begun + self._upload_every_s - time.monotonic()))

    def _next(self) -> tuple[int, Path] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._closing)
            if self._closing:
                return None
            item, self._waiting = self._waiting, None
            self._uploading = item[1] if item else None
            return item

    def _upload(self, step: int, path: Path) -> None:
        ctx = self._ctx
        files = {file.name: ctx.jobs.upload_blob(file, stop=self._is_closing).digest for file in sorted(path.iterdir())}
        message = CheckpointIn(step=step, files=files, token=ctx.claim.token)
        patiently(lambda: ctx.jobs.put_checkpoint(ctx.job_id, message), patience_s=ctx.jobs.patience_s, stop=self._is_closing)

    def _is_closing(self) -> bool:
        return self._closing


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _digests_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _is_whole(path: Path) -> bool:
    try:
        wanted = json.loads(_digests_of(path).read_text())
        return bool({file.name: digest_file(file)[0] for file in path.iterdir()} == wanted)
    except (OSError, ValueError):
        return False


def _remove(path: Path) -> None:
    _digests_of(path).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
