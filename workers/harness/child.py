"""The process in which one job runs: ``python -m workers.harness.child [--processes N] KIND=MODULE...``.

It starts, imports what jobs of these kinds need, and waits for its job. So a spare child can stand ready.
"""

import contextlib
import ctypes
import datetime
import os
import resource
import signal
import sys
import threading
import traceback

from shared.contracts.jobs import Progress
from shared.kit.cache import Cache
from shared.picosam.allocator import keep_freed_memory
from workers.harness import errors, kinds
from workers.harness.channel import CHANNEL_VARIABLE, Assignment, Link
from workers.harness.context import Finished, JobContext
from workers.harness.protocol import JobsClient, StaleToken

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Become torchrun, or do one job; the exit status (torchrun ends all ranks when one is not 0)."""
    _die_with_parent()
    if arguments[:1] == ["--processes"]:
        _become_torchrun(int(arguments[1]), arguments[2:])
    keep_freed_memory()
    link = Link.connect(os.environ[CHANNEL_VARIABLE])
    link.send("hello", pid=os.getpid(), group=os.getpgid(0))
    runs = kinds.load(arguments)
    link.send("ready")
    first = link.receive()
    if first is None or first["kind"] != "start":
        return 0
    assignment = Assignment.model_validate(first["assignment"])
    return _work(link, assignment, runs[assignment.claim.kind])


def _work(link: Link, assignment: Assignment, run: kinds.Run) -> int:
    stop = threading.Event()
    threading.Thread(target=_listen, args=(link, stop), name="supervisor", daemon=True).start()
    if assignment.memory_limit_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (assignment.memory_limit_bytes,) * 2)
    with JobsClient(assignment.jobs_url, assignment.api_key) as jobs:
        ctx = _context(link, assignment, jobs, stop)
        verdict, content = _judge(ctx, run, link)
    if ctx.rank == 0 or verdict != "finished":
        link.send(verdict, **content)
    return 0 if verdict == "finished" else 1


def _judge(ctx: JobContext, run: kinds.Run, link: Link) -> tuple[str, dict[str, object]]:
    """Run the job; the verdict to send and what it carries."""
    try:
        finished = run(ctx, ctx.claim.spec)
    except StaleToken:
        return "stale", {}
    except BaseException as exc:  # whatever it is, the user must hear of it
        if errors.is_stop(exc):
            return "finished", _plain(Finished(cancelled=True))
        with contextlib.suppress(OSError):  # where the disk is full, the message must still get out
            traceback.print_exc()
        link.send("log", message=_where(exc), level="debug")
        return "failed", {"error": errors.translate(exc).model_dump(mode="json")}
    return "finished", _plain(finished)


def _plain(finished: Finished) -> dict[str, object]:
    return {
        "cancelled": finished.cancelled,
        "result": finished.result,
        "outputs": [output.model_dump(mode="json") for output in finished.outputs],
        "register_models": [model.model_dump(mode="json") for model in finished.register_models],
        "dataset": finished.dataset.model_dump(mode="json") if finished.dataset else None,
        "package": finished.package.model_dump(mode="json") if finished.package else None,
    }


def _where(exc: BaseException) -> str:
    return "".join(traceback.format_exception(exc))[-8000:]


def _context(link: Link, assignment: Assignment, jobs: JobsClient, stop: threading.Event) -> JobContext:
    def report(progress: Progress) -> None:
        link.send("progress", progress=progress.model_dump(mode="json"))

    def log_line(message: str, *, level: str = "info") -> None:
        link.send("log", message=message, level=level)

    def announce_run(run_id: str) -> None:
        link.send("run", run_id=run_id)

    return JobContext(
        claim=assignment.claim,
        folder=assignment.folder,
        cache=Cache(assignment.cache_root, assignment.cache_limit_bytes),
        jobs=jobs,
        mlflow_url=assignment.mlflow_url,
        rank=int(os.environ.get("RANK", "0")),
        processes=int(os.environ.get("WORLD_SIZE", "1")),
        now=lambda: datetime.datetime.now(datetime.UTC),
        stop_requested=stop.is_set,
        report=report,
        log=log_line,
        announce_run=announce_run,
        environment=assignment.environment,
    )


def _listen(link: Link, stop: threading.Event) -> None:
    while (message := link.receive()) is not None:
        if message["kind"] == "stop":
            stop.set()
    # The supervisor is gone, and with it the lease: nothing done from here on would be accepted.
    os.killpg(0, signal.SIGKILL)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends: works in a hang too, and survives exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _become_torchrun(processes: int, modules: list[str]) -> None:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=0"]
    os.execv(sys.executable, [sys.executable, *torchrun, "-m", "workers.harness.child", *modules])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
