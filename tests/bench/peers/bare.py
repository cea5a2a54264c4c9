"""The bare loop: the task in threads and nothing else. Takes turns: a line of JSON in, one out.

One request at a time has all processors in the network's run; else there are as many threads as processors, and each of
their runs has one.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from onnxruntime import InferenceSession

from tests.bench.load import read_requests
from tests.bench.peers.task import SIDE, open_network, segment

Job = tuple[bytes, int, int]

WINDOW = np.full((1, 3, SIDE, SIDE), 0.5, np.float32)
THREADS = len(os.sched_getaffinity(0))


def main() -> None:
    network, tasks = sys.argv[1], [json.loads(line.payload) for line in read_requests(Path(sys.argv[2]))]
    jobs = [(bytes.fromhex(task["jpeg"]), task["x"], task["y"]) for task in tasks]
    run = _run if sys.argv[3:] == ["run"] else _segment
    alone, beside = open_network(network, THREADS), open_network(network, 1)
    for line in sys.stdin:
        turn = json.loads(line)
        threads = 1 if turn["concurrency"] == 1 else THREADS
        session = alone if threads == 1 else beside
        print(json.dumps(_turn(partial(run, session), jobs, threads, turn["warm_up_s"], turn["seconds"])), flush=True)


def _segment(session: InferenceSession, job: Job) -> None:
    json.dumps(segment(session, *job))


def _run(session: InferenceSession, _: Job) -> None:
    session.run(None, {"window": WINDOW})


def _turn(work_on: Callable[[Job], None], jobs: list[Job], threads: int, warm_up_s: float, seconds: float) -> list[float]:
    """Seconds that each request took, of those that ended within the turn."""
    begins = time.perf_counter() + warm_up_s
    taken: list[float] = []

    def work(number: int) -> None:
        while (begun := time.perf_counter()) < begins + seconds:
            number += 1
            work_on(jobs[number % len(jobs)])
            if begins <= (now := time.perf_counter()) < begins + seconds:
                taken.append(now - begun)

    workers = [threading.Thread(target=work, args=(number * len(jobs) // threads,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return taken


if __name__ == "__main__":
    main()
