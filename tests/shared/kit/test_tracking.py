"""The sink against a real MLflow server, which is killed where the test is about outages."""

import math
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.kit import tracking
from shared.kit.mlflow_api import MlflowApi
from shared.kit.tracking import JOB_TAG, RunIdentity, RunSink, TrackingFailed, end_run

UNREACHABLE = "http://127.0.0.1:9"


@pytest.fixture
def api(mlflow_server: str) -> Iterator[MlflowApi]:
    with MlflowApi(mlflow_server) as api:
        yield api


@pytest.fixture
def open_sink(mlflow_server: str, tmp_path: Path) -> Iterator[Callable[..., RunSink]]:
    made: list[RunSink] = []

    def make(identity: RunIdentity | None = None, url: str = mlflow_server, system_every_s: float | None = None) -> RunSink:
        identity = identity or an_identity()
        made.append(RunSink(url, identity, spool=tmp_path / f"spool{len(made)}", system_every_s=system_every_s))
        return made[-1]

    yield make
    for sink in made:
        sink.abandon()


def an_identity(**overrides: object) -> RunIdentity:
    return RunIdentity(**({"job_id": str(uuid.uuid4()), "experiment": "sink"} | overrides))  # type: ignore[arg-type]


def flushed(sink: RunSink) -> str:
    assert sink.flush(120)  # a server that other tests keep busy is slow to fail, eight times
    assert sink.run_id is not None
    return sink.run_id


def points(api: MlflowApi, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(int(p.get("step", 0)), float(p["value"])) for p in api.metric_history(run_id, key)]


def test_params_metrics_and_tags_arrive(api, open_sink):
    sink = open_sink()
    sink.params({"recipe": {"learning_rate": 2e-3, "augmentation": {"flip": 0.5}}, "name": "a"})
    sink.tags({"colour": "red"})
    for step in range(3):
        sink.metrics({"loss": 1.0 / (step + 1), "images_per_s": 50}, step=step)
    run_id = flushed(sink)
    data = api.get_run(run_id)["data"]
    params = {p["key"]: p["value"] for p in data["params"]}
    assert params == {"recipe.learning_rate": "0.002", "recipe.augmentation.flip": "0.5", "name": "a"}
    assert {t["key"]: t["value"] for t in data["tags"]}["colour"] == "red"
    assert points(api, run_id, "loss") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]


def test_nan_and_infinity_are_kept(api, open_sink):
    sink = open_sink()
    sink.metrics({"loss": math.nan, "norm": math.inf}, step=1)
    run_id = flushed(sink)
    assert math.isnan(points(api, run_id, "loss")[0][1])
    assert points(api, run_id, "norm")[0][1] > 1e300


def test_more_than_mlflow_takes_in_one_call_is_split(api, open_sink):
    sink = open_sink()
    sink.params({f"p{n}": n for n in range(250)})
    for step in range(2500):
        sink.metrics({"loss": float(step)}, step=step)
    run_id = flushed(sink)
    assert len(points(api, run_id, "loss")) == 2500
    assert len(api.get_run(run_id)["data"]["params"]) == 250
    assert sink.lost == ()


def test_pictures_and_folders_become_artifacts(api, open_sink, tmp_path):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "a.bin").write_bytes(b"a" * 300_000)
    (tmp_path / "model" / "sub" / "b.txt").write_text("b")
    sink = open_sink()
    sink.artifact(b"picture", "evaluations/step_000250/samples.png")
    sink.artifact_folder(tmp_path / "model", "model")
    uri = api.get_run(flushed(sink))["info"]["artifact_uri"]
    sizes = {file.path: file.size_bytes for file in api.all_artifacts(uri)}
    assert sizes == {"evaluations/step_000250/samples.png": 7, "model/a.bin": 300_000, "model/sub/b.txt": 1}
    with api.download(uri, "evaluations/step_000250/samples.png") as download:
        assert b"".join(download.chunks) == b"picture"


def test_a_file_may_change_once_it_is_logged(api, open_sink, tmp_path):
    file = tmp_path / "curve.png"
    file.write_text("first")
    sink = open_sink()
    sink.artifact(file, "curve.png")
    file.write_text("second")
    uri = api.get_run(flushed(sink))["info"]["artifact_uri"]
    with api.download(uri, "curve.png") as download:
        assert b"".join(download.chunks) == b"first"


def test_a_dataset_is_the_runs_input(api, open_sink):
    sink = open_sink()
    sink.dataset("coco/train", "sha256:" + "ab" * 32, context="training", source="file:///data/coco")
    run = api.get_run(flushed(sink))
    (entry,) = run["inputs"]["dataset_inputs"]
    assert entry["dataset"]["name"] == "coco/train"
    assert entry["dataset"]["digest"] == "ab" * 18
    assert entry["tags"] == [{"key": "mlflow.data.context", "value": "training"}]


def test_a_resumed_job_goes_on_in_its_run_without_repeating_points(api, open_sink):
    identity = an_identity()
    first = open_sink(identity)
    for step in range(1, 7):
        first.metrics({"loss": float(step)}, step=step)
    run_id = flushed(first)
    first.abandon()  # killed after step 6; the checkpoint was written at step 4
    second = open_sink(identity)
    for step in range(5, 9):
        second.metrics({"loss": float(step)}, step=step)
    assert flushed(second) == run_id
    assert points(api, run_id, "loss") == [(step, float(step)) for step in range(1, 9)]


def test_a_known_run_id_is_used_and_a_deleted_run_is_not(api, open_sink):
    run_id = flushed(open_sink())
    again = open_sink(an_identity(run_id=run_id))
    assert flushed(again) == run_id
    api._post("runs/delete", {"run_id": run_id})
    assert flushed(open_sink(an_identity(run_id=run_id))) != run_id


def test_an_experiment_that_somebody_deleted_is_restored(api, open_sink):
    name = f"deleted-{uuid.uuid4()}"
    first = flushed(open_sink(an_identity(experiment=name)))
    api._post("experiments/delete", {"experiment_id": api.get_run(first)["info"]["experiment_id"]})
    assert flushed(open_sink(an_identity(experiment=name)))


def test_what_mlflow_refuses_costs_only_itself(api, open_sink):
    sink = open_sink()
    sink.params({"lr": 1})
    run_id = flushed(sink)
    sink.metrics({"good": 1.0, "bad|name": 2.0}, step=1)
    sink.params({"lr": 2, "new": 3})
    assert sink.flush(20)
    assert points(api, run_id, "good") == [(1, 1.0)]
    assert {p["key"]: p["value"] for p in api.get_run(run_id)["data"]["params"]} == {"lr": "1", "new": "3"}
    assert [entry.split(":")[0] for entry in sink.lost] == ["entry bad|name", "entry lr"]


def test_close_ends_the_run_with_its_status(api, open_sink):
    sink = open_sink()
    sink.metrics({"loss": 1.0}, step=1)
    assert sink.close("FAILED", timeout_s=20)
    info = api.get_run(sink.run_id)["info"]
    assert info["status"] == "FAILED"
    assert info["end_time"] >= info["start_time"]


def test_end_run_ends_the_run_of_a_dead_process(api, open_sink, mlflow_server):
    run_id = flushed(open_sink())
    assert end_run(mlflow_server, run_id, "KILLED")
    assert api.get_run(run_id)["info"]["status"] == "KILLED"
    assert not end_run(mlflow_server, "0" * 32, "KILLED")


def test_publish_waits_for_a_whole_folder(api, open_sink, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(b"onnx")
    sink = open_sink()
    run_id = sink.publish(tmp_path / "m", "model", timeout_s=20)
    assert [file.path for file in api.all_artifacts(api.get_run(run_id)["info"]["artifact_uri"])] == ["model/model.onnx"]


def test_publish_says_so_when_a_file_is_refused(open_sink, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x").write_bytes(b"x")
    with pytest.raises(TrackingFailed, match="refused"):
        open_sink().publish(tmp_path / "m", "../outside", timeout_s=20)


def test_what_makes_mlflow_fail_inside_is_dropped_in_the_end(api, open_sink, monkeypatch):
    monkeypatch.setattr(tracking, "_BACK_OFF_S", (0.01, 0.02))
    sink = open_sink()
    sink.artifact(b"a file", "taken")
    sink.artifact(b"beneath a file", "taken/x")
    sink.metrics({"loss": 1.0}, step=1)
    assert points(api, flushed(sink), "loss") == [(1, 1.0)]
    assert [entry.split(":")[0] for entry in sink.lost] == ["artifact taken/x"]


def test_nothing_waits_for_an_mlflow_that_is_away(open_sink, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "x").write_bytes(b"x")
    sink = open_sink(url=UNREACHABLE)
    begun = time.monotonic()
    for step in range(1000):
        sink.metrics({"loss": 1.0}, step=step)
    sink.artifact(b"x", "x.png")
    assert time.monotonic() - begun < 5
    assert not sink.flush(0.1)
    with pytest.raises(TrackingFailed, match="did not take"):
        sink.publish(tmp_path / "m", "model", timeout_s=0.5)
    assert not sink.close("KILLED", timeout_s=0.2)
    assert time.monotonic() - begun < 15


def test_what_waits_for_mlflow_is_bounded_and_the_end_still_gets_in(open_sink, monkeypatch):
    monkeypatch.setattr(tracking, "_MAX_WAITING", 10)
    sink = open_sink(url=UNREACHABLE)
    for step in range(20):
        sink.metrics({"a": 1.0, "b": 2.0}, step=step)
    assert len(sink._waiting) == 5
    assert sink.lost == ("all beyond the 10 values that were waiting for MLflow",)
    sink.close("KILLED", timeout_s=0.1)
    assert len(sink._waiting) == 6


def test_system_metrics_are_sampled(api, open_sink):
    sink = open_sink(system_every_s=0.1)
    flushed(sink)
    time.sleep(0.5)
    run_id = flushed(sink)
    keys = {metric["key"] for metric in api.get_run(run_id)["data"]["metrics"]}
    assert {"system/cpu_utilization_percentage", "system/process_memory_megabytes"} <= keys


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_mlflow_is_killed_in_mid_run(new_mlflow, open_sink):
    server = new_mlflow()
    sink = open_sink(url=server.url)  # not even there when the job starts
    sink.metrics({"loss": 0.0}, step=0)
    server.start()
    server.wait()
    for step in range(1, 400):
        sink.metrics({"loss": float(step)}, step=step)
        if step == 150:
            assert sink.flush(30)
        if step == 200:
            server.kill()
        time.sleep(0.005)
    sink.artifact(b"picture", "evaluations/step_000400/samples.png")
    server.start()
    server.wait()
    assert sink.close("FINISHED", timeout_s=60)
    with MlflowApi(server.url) as api:
        assert points(api, sink.run_id, "loss") == [(step, float(step)) for step in range(400)]
        run = api.get_run(sink.run_id)
        assert run["info"]["status"] == "FINISHED"
        assert [file.path for file in api.all_artifacts(run["info"]["artifact_uri"])] == ["evaluations/step_000400/samples.png"]


def test_a_lost_answer_to_the_runs_creation_makes_no_second_run(api, open_sink):
    identity = an_identity()
    experiment = api.experiment_id(identity.experiment)
    api.create_run(experiment, name=None, tags={JOB_TAG: identity.job_id}, started_ms=1)
    flushed(open_sink(identity))
    assert len(api.find_runs(experiment, {JOB_TAG: identity.job_id})) == 1
