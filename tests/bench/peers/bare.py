"""The bare loop: the task in threads and nothing else. Takes turns: a line of JSON in, one out.

One request at a time has all processors in the network's run; else there are as many threads as processors, and each of
their runs has one.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from tests.bench.load import read_requests
from tests.bench.peers.task import open_network, segment

THREADS = len(os.sched_getaffinity(0))


def main() -> None:
    network, tasks = sys.argv[1], [json.loads(line.payload) for line in read_requests(Path(sys.argv[2]))]
    jobs = [(bytes.fromhex(task["jpeg"]), task["x"], task["y"]) for task in tasks]
    alone, beside = open_network(network, THREADS), open_network(network, 1)
    for line in sys.stdin:
        turn = json.loads(line)
        threads = 1 if turn["concurrency"] == 1 else THREADS
        session = alone if threads == 1 else beside
        print(json.dumps(_turn(session, jobs, threads, turn["warm_up_s"], turn["seconds"])), flush=True)


def _turn(session, jobs, threads: int, warm_up_s: float, seconds: float) -> list[float]:
    """Seconds that each request took, of those that ended within the turn."""
    begins = time.perf_counter() + warm_up_s
    taken: list[float] = []

    def work(number: int) -> None:
        while (begun := time.perf_counter()) < begins + seconds:
            number += 1
            json.dumps(segment(session, *jobs[number % len(jobs)]))
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
