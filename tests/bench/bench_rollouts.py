"""How fast the engine drains rollouts: four phases to 1,000, 10,000 and 100,000 cameras on Postgres.

The devices are played in the same process: what the engine lets in is moved to running by `moves.move_all`, so that the figures
are of the engine and the database, not of HTTP. Each size runs in a process of its own, whose peak memory is printed.
BENCH_SMALL=1: 1,000 and 5,000 cameras.
"""

import json
import os
import subprocess
import sys

from tests.bench.table import Measured, print_goal, print_table
from tests.conftest import PostgresCluster

SMALL = bool(os.environ.get("BENCH_SMALL"))
SIZES = (1_000, 5_000) if SMALL else (1_000, 10_000, 100_000)
GOAL_S, GOAL_TRANSACTION_MS, GOAL_MB = 60, 500, 200


def main() -> None:
    cluster = PostgresCluster()
    cluster.start()
    try:
        found = [_in_a_process(cluster.create(f"bench{size}"), size) for size in SIZES]
    finally:
        cluster.stop()
    rows = [
        Measured(name=f"{each['cameras']:,} cameras", rates=[each["cameras"] / each["s"]], notes=_notes(each)) for each in found
    ]
    print_table("Rollouts in four phases, Postgres, devices played in the same process", "cameras/s", rows, compare=False)
    last = found[-1]
    print_goal(f"{last['cameras']:,} cameras in less than {GOAL_S} s", f"{last['s']:.1f} s", last["s"] < GOAL_S)
    longest = max(each["longest_ms"] for each in found)
    print_goal(f"no transaction above {GOAL_TRANSACTION_MS} ms", f"{longest:.0f} ms", longest < GOAL_TRANSACTION_MS)
    most = max(each["mb"] for each in found)
    print_goal(f"less than {GOAL_MB} MB", f"{most:.0f} MB", most < GOAL_MB)
    first, per = found[0], [each["s"] / each["cameras"] for each in found]
    growth = per[-1] / per[0]
    print_goal(
        f"time grows no faster than cameras, from {first['cameras']:,} to {last['cameras']:,}",
        f"{growth:.2f} times as long per camera",
        growth < 1.5,
    )


def _notes(found: dict[str, float]) -> dict[str, str]:
    return {
        "seconds": f"{found['s']:.1f}",
        "of these the engine": f"{found['engine_s']:.1f}",
        "transactions": f"{found['transactions']:.0f}",
        "longest": f"{found['longest_ms']:.0f} ms",
        "peak memory": f"{found['mb']:.0f} MB",
    }


def _in_a_process(url: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.rollouts_drain", url, str(size)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
