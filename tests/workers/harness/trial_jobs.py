"""Jobs that misbehave on purpose, run by real children. Which one: the job's name."""

import math
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from shared.contracts.jobs import Progress
from workers.harness.context import Finished, JobContext


def run(ctx: JobContext, spec: Any) -> Finished:
    return TRIALS[ctx.claim.name or ""](ctx)


def _report(ctx: JobContext, done: int) -> None:
    ctx.report(Progress(phase="train", done=done, total=100, metrics={"loss": 1 / (done + 1)}))


def _succeed(ctx: JobContext) -> Finished:
    ctx.log("one line")
    _report(ctx, 1)
    return Finished(result={"pid": os.getpid(), "attempt": ctx.attempt})


def _obey(ctx: JobContext) -> Finished:
    for number in range(10_000):
        _report(ctx, number)
        ctx.raise_if_stopped()
        time.sleep(0.02)
    return Finished()


def _hang(ctx: JobContext) -> Finished:
    _report(ctx, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        time.sleep(1)


def _hang_holding_the_gil(ctx: JobContext) -> Finished:
    _report(ctx, 1)
    return Finished(result={"never": math.factorial(5_000_000) % 7})


def _with_helper(ctx: JobContext) -> Finished:
    helper = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    helper.start()
    ctx.log(f"helper {helper.pid}")
    return _hang(ctx)


def _kill_itself(ctx: JobContext) -> Finished:
    _report(ctx, 1)
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)
    return Finished()


def _take_all_memory(ctx: JobContext) -> Finished:
    return Finished(result={"bytes": np.empty(2**36).nbytes})


def _fill_the_disk(ctx: JobContext) -> Finished:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"x")
    return Finished()


def _diverge(ctx: JobContext) -> Finished:
    from shared.contracts.training import Recipe
    from shared.picosam.fit import Diverged

    raise Diverged(7, "loss nan", Recipe())


def _slow_but_steady(ctx: JobContext) -> Finished:
    for number in range(60):
        ctx.log(f"line {number}")
        _report(ctx, number)
        time.sleep(0.1)
    return Finished(result={"lines": 60})


def _refused_result(ctx: JobContext) -> Finished:
    return Finished(result={"nan": float("nan")})


TRIALS = {
    "succeed": _succeed,
    "obey": _obey,
    "hang": _hang,
    "hang_holding_the_gil": _hang_holding_the_gil,
    "with_helper": _with_helper,
    "kill_itself": _kill_itself,
    "take_all_memory": _take_all_memory,
    "fill_the_disk": _fill_the_disk,
    "diverge": _diverge,
    "slow_but_steady": _slow_but_steady,
    "refused_result": _refused_result,
}
