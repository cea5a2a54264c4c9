"""Two processes with gloo against one, on the same batches."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.picosam import checkpoint, parallel

SCRIPT = Path(__file__).parent / "data_parallel.py"
ROOT = Path(__file__).parents[3]


def run(folder: Path, kind: str, processes: int) -> list[dict[str, Any]]:
    """What each process saw."""
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, "-W", "error", *launcher, str(SCRIPT), kind, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr[-4000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(processes)]


@pytest.fixture(scope="module", params=["plain", "taught"])
def without_batchnorm(request, tmp_path_factory):
    folder, kind = tmp_path_factory.mktemp(request.param), request.param
    return folder, run(folder / "one", kind, 1)[0], run(folder / "two", kind, 2)


def test_two_processes_minimise_the_same_loss_as_one(without_batchnorm):
    _, alone, (first, _) = without_batchnorm
    assert len(alone["losses"]) == 6
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-5)
    assert first["weights"] == pytest.approx(alone["weights"], rel=1e-4, abs=1e-5)


def test_all_processes_end_with_the_same_weights_and_score(without_batchnorm):
    _, _, (first, second) = without_batchnorm
    assert first["weights"] == second["weights"]
    assert first["best"] == second["best"] == 0.4
    assert first["ending"] == second["ending"] == "finished"


def test_the_first_process_alone_reports_evaluates_and_saves(without_batchnorm):
    folder, _, (first, second) = without_batchnorm
    assert first["calls"] == ["evaluate 2", "save 3", "evaluate 4", "save 6"]
    assert second["calls"] == second["losses"] == []
    assert checkpoint.newest(folder / "two" / "checkpoints").name == "step-000000006"


def test_the_network_trains_in_two_processes(tmp_path):
    (first, second), (alone,) = run(tmp_path / "two", "picosam2", 2), run(tmp_path / "one", "picosam2", 1)
    assert first["weights"] == second["weights"]
    # Each process normalises by its own half of the batch, as BatchNorm does: near, not equal.
    assert first["losses"] == pytest.approx(alone["losses"], rel=0.1)


def test_one_process_joins_nothing(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with parallel.process_group():
        assert (parallel.rank(), parallel.world()) == (0, 1)
        assert parallel.on_first(lambda: 5) == 5
