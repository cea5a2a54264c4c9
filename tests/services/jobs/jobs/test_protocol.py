"""The worker protocol, over HTTP."""

from pathlib import Path

import pytest

from services.jobs.datasets.models import Dataset
from services.jobs.jobs import service
from services.jobs.jobs.models import JobEventRow
from shared.contracts.datasets import DatasetState
from shared.contracts.imports import DatasetImportSpec
from shared.contracts.jobs import JobOutput
from shared.contracts.worker import Claim
from tests.conftest import wait_for

DIGESTS = [f"sha256:{letter * 64}" for letter in "abcd"]
BROKEN = {"type": "diverged", "message": "loss is nan", "hint": "lower the learning rate"}


def states(services, job_id):
    with services.sessions() as session:
        rows = session.query(JobEventRow).filter_by(job_id=job_id).order_by(JobEventRow.seq).all()
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "numbers without gaps"
    return [row.payload["state"] for row in rows if row.type == "state"]


def test_a_claim_carries_all_that_the_worker_needs(fleet, new_dataset, tmp_path):
    folder = new_dataset(source={"kind": "folder", "root": str(tmp_path)})
    claim = Claim.model_validate(fleet.claim(fleet.submit(name="n", tags={"a": "b"})["id"]))
    assert (claim.attempt, claim.lease_s, claim.checkpoint, claim.owner) == (1, 30, None, "a-operator")
    assert [grant.id for grant in claim.datasets] == [folder.id, folder.id]
    assert claim.datasets[0].root == Path(tmp_path).as_uri()
    assert (claim.spec.recipe.batch_size, claim.name, claim.tags) == (16, "n", {"a": "b"})


def test_a_second_claim_is_refused(fleet, job):
    fleet.claim(job["id"])
    second = fleet.tell(job["id"], "claim", worker="box:2")
    assert (second.status_code, second.json()["type"], second.json()["state"]) == (409, "/problems/not-claimable", "running")


def test_a_whole_life_is_told_in_events_without_gaps(services, fleet, job):
    token = fleet.claim(job["id"])["token"]
    progress = {"phase": "train", "done": 5, "total": 10, "metrics": {"loss": 0.5}}
    fleet.tell(job["id"], "progress", token=token, report_no=1, progress=progress, mlflow_run_id="run1")
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["worker"], seen["progress"]["done"]) == ("running", "box:1", 5)
    assert seen["mlflow_url"] == "http://127.0.0.1:9/#/runs/run1"
    output = {"name": "report", "kind": "blob", "blob": DIGESTS[0]}
    done = fleet.tell(job["id"], "finish", token=token, result={"miou_96": 0.4}, outputs=[output])
    assert done.status_code == 204
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["result"], seen["outputs"][0]["blob"]) == ("succeeded", {"miou_96": 0.4}, DIGESTS[0])
    assert seen["finished_at"] is not None
    assert states(services, job["id"]) == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("what", ["heartbeat", "progress", "checkpoint", "finish"])
def test_a_stale_token_is_refused_and_changes_nothing(services, fleet, job, row, what):
    old = fleet.claim(job["id"])["token"]
    fleet.tell(job["id"], "finish", token=old, crashed=True)
    new = fleet.claim(job["id"], "box:2")["token"]
    before, message = row(job["id"]), {"report_no": 1, "logs": [{"message": "late"}], "step": 1, "files": {}}
    answer = fleet.tell(job["id"], what, token=old, **message)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/stale-token")
    after = row(job["id"])
    assert (after.last_seq, after.lease_until, after.checkpoint) == (before.last_seq, before.lease_until, None)
    assert fleet.tell(job["id"], what, token=new, **message).is_success


def test_a_heartbeat_extends_the_lease_by_the_databases_clock(fleet, job, row):
    token = fleet.claim(job["id"])["token"]
    before = row(job["id"]).lease_until
    assert fleet.tell(job["id"], "heartbeat", token=token).json() == {"stop_requested": False, "lease_s": 30.0}
    assert row(job["id"]).lease_until > before


def test_a_repeated_report_is_acknowledged_and_not_stored_twice(fleet, job, row):
    token = fleet.claim(job["id"])["token"]
    for _ in range(3):
        answer = fleet.tell(job["id"], "progress", token=token, report_no=1, logs=[{"message": "once"}])
        assert answer.status_code == 200
    assert fleet.log(job["id"]).count("once") == 1
    fleet.tell(job["id"], "progress", token=token, report_no=2, logs=[{"message": "twice"}])
    assert fleet.log(job["id"]).count("twice") == 1


def test_report_numbers_begin_anew_with_each_claim(fleet, job):
    for attempt in ("one", "two"):
        token = fleet.claim(job["id"])["token"]
        fleet.tell(job["id"], "progress", token=token, report_no=1, logs=[{"message": attempt}])
        fleet.tell(job["id"], "finish", token=token, crashed=True)
    assert "one" in fleet.log(job["id"])
    assert "two" in fleet.log(job["id"])


def test_a_finish_whose_answer_was_lost_may_be_repeated(services, fleet, job, row):
    token = fleet.claim(job["id"])["token"]
    answers = [fleet.tell(job["id"], "finish", token=token, result={"x": n}).status_code for n in range(3)]
    assert answers == [204, 204, 204]
    assert row(job["id"]).result == {"x": 0}
    assert states(services, job["id"]) == ["queued", "running", "succeeded"]


def test_an_older_checkpoint_does_not_replace_a_newer_one(fleet, job, row):
    token = fleet.claim(job["id"])["token"]
    for step in (100, 200, 150):
        assert fleet.tell(job["id"], "checkpoint", token=token, step=step, files={"m": DIGESTS[0]}).is_success
    assert row(job["id"]).checkpoint["step"] == 200


def test_bytes_of_checkpoints_go_when_no_job_can_be_taken_up_from_them(services, fleet, job):
    old, shared_by_two, new = (services.blobs.put_bytes(content).digest for content in (b"old", b"shared", b"new"))
    twin = fleet.submit()
    fleet.tell(twin["id"], "checkpoint", token=fleet.claim(twin["id"])["token"], step=100, files={"m": shared_by_two})
    token = fleet.claim(job["id"])["token"]

    def left(*, of):
        return [content for content in of if services.blobs.exists(content)]

    def offer(step, **files):
        assert fleet.tell(job["id"], "checkpoint", token=token, step=step, files=files).is_success

    offer(100, m=old, s=shared_by_two)
    offer(200, m=new, s=shared_by_two)
    wait_for(lambda: left(of=[old, shared_by_two, new]) == [shared_by_two, new], what="the end of the first checkpoint")
    assert fleet.tell(job["id"], "finish", token=token).is_success
    wait_for(lambda: left(of=[shared_by_two, new]) == [shared_by_two], what="the end of the last checkpoint")
    assert fleet.tell(job["id"], "finish", token=token).is_success


def test_a_crash_queues_the_job_again_and_the_fifth_fails_it(services, fleet, job, sent):
    error = {"type": "out_of_memory", "message": "killed by signal 9", "hint": "smaller batch_size"}
    sent()
    for attempt in range(1, 6):
        claim = fleet.claim(job["id"])
        assert claim["attempt"] == attempt
        assert fleet.tell(job["id"], "finish", token=claim["token"], crashed=True, error=error).status_code == 204
        assert sent() == ([job["id"]] if attempt < 5 else [])
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["error"]) == ("failed", error)
    assert states(services, job["id"]) == ["queued", *(["running", "lost", "queued"] * 4), "running", "lost", "failed"]
    assert fleet.log(job["id"]).count("killed by signal 9") == 4


def test_a_job_that_its_worker_gives_back_is_not_counted_as_lost(fleet, job, row):
    for _ in range(6):
        fleet.tell(job["id"], "finish", token=fleet.claim(job["id"])["token"], cancelled=True)
    assert (row(job["id"]).state, row(job["id"]).lost_attempts) == ("queued", 0)


@pytest.mark.parametrize("outcome", [{}, {"error": BROKEN}, {"crashed": True, "error": BROKEN}, {"cancelled": True}])
def test_a_job_that_is_being_cancelled_ends_as_cancelled_however_it_ends(fleet, job, outcome):
    token = fleet.claim(job["id"])["token"]
    fleet.act(job["id"], "cancel")
    fleet.tell(job["id"], "finish", token=token, **outcome)
    assert (fleet.get(job["id"])["state"], fleet.get(job["id"])["error"]) == ("cancelled", None)


def test_unknown_fields_of_a_newer_worker_are_ignored(fleet, job):
    assert fleet.tell(job["id"], "claim", worker="box:9", mood="good").status_code == 200


def test_a_job_waits_for_its_dataset_and_is_sent_once_that_is_ready(services, fleet, new_dataset, sent):
    importing = new_dataset(state=DatasetState.IMPORTING, digest=None, manifest=None, splits={})
    job, import_job = fleet.submit(), an_import(services, importing)
    fleet.hello()
    assert "still being imported" in fleet.get(job["id"])["waiting_for"]
    refused = fleet.tell(job["id"], "claim", worker="box:1")
    assert (refused.status_code, refused.json()["state"]) == (409, "queued")
    sent()
    found = {"digest": DIGESTS[0], "manifest": DIGESTS[1], "report": DIGESTS[2], "splits": {"train": {}, "val": {}}}
    fleet.tell(import_job, "finish", token=fleet.claim(import_job)["token"], dataset=found)
    assert sent() == [job["id"]]
    assert fleet.claim(job["id"])["datasets"][0]["digest"] == DIGESTS[0]


def an_import(services, dataset: Dataset) -> str:
    spec = DatasetImportSpec(dataset_id=dataset.id, name=dataset.name, source={"kind": "generator"})
    with services.sessions.begin() as session:
        return service.enqueue(session, spec=spec, owner="ada").id


def dataset_state(services, dataset: Dataset) -> str:
    with services.sessions() as session:
        return session.get_one(Dataset, dataset.id).state


def test_a_failed_import_fails_the_dataset_and_the_jobs_that_wait_for_it(services, fleet, new_dataset):
    importing = new_dataset(state=DatasetState.IMPORTING, splits={})
    job, import_job = fleet.submit(), an_import(services, importing)
    fleet.tell(import_job, "finish", token=fleet.claim(import_job)["token"], error=BROKEN)
    assert dataset_state(services, importing) == "failed"
    assert fleet.tell(job["id"], "claim", worker="box:1").status_code == 409
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["error"]["type"]) == ("failed", "dataset_import_failed")
    assert "loss is nan" in seen["error"]["message"]


def test_a_cancelled_import_fails_its_dataset_and_a_retry_takes_it_up_again(services, fleet, new_dataset):
    importing = new_dataset(state=DatasetState.IMPORTING, splits={})
    import_job = an_import(services, importing)
    fleet.act(import_job, "cancel")
    assert dataset_state(services, importing) == "failed"
    fleet.act(import_job, "retry")
    assert dataset_state(services, importing) == "importing"


def test_a_split_that_the_import_did_not_make_fails_the_job_with_those_that_are_there(fleet, services, new_dataset):
    importing = new_dataset(state=DatasetState.IMPORTING, splits={})
    job = fleet.submit()
    with services.sessions.begin() as session:
        row = session.get_one(Dataset, importing.id)
        row.state, row.splits = DatasetState.READY, {"all": {}}
    assert fleet.tell(job["id"], "claim", worker="box:1").status_code == 409
    error = fleet.get(job["id"])["error"]
    assert (error["type"], "it has all" in error["hint"]) == ("split_missing", True)


def test_a_job_whose_dataset_was_deleted_fails_when_it_is_claimed(services, fleet, job, dataset):
    with services.sessions.begin() as session:
        session.delete(session.get_one(Dataset, dataset.id))
    refused = fleet.tell(job["id"], "claim", worker="box:1")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-claimable")
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["error"]["type"]) == ("failed", "dataset_gone")
    assert "register the dataset again" in seen["error"]["hint"]


def test_a_dataset_deleted_by_force_fails_its_active_jobs_and_stops_their_workers(services, fleet, dataset):
    queued, running, cancelling, over = (fleet.submit()["id"] for _ in range(4))
    token = fleet.claim(running)["token"]
    fleet.claim(cancelling, "box:2")
    fleet.act(cancelling, "cancel"), fleet.act(over, "cancel")
    with services.sessions.begin() as session:
        assert service.active_job_ids(session, dataset.id) == sorted([queued, running, cancelling])
        service.fail_jobs_of_dataset(session, dataset.id, dataset.name)
    assert [fleet.get(each)["state"] for each in (queued, running, cancelling, over)] == [
        "failed",
        "failed",
        "cancelled",
        "cancelled",
    ]
    assert fleet.get(running)["error"]["type"] == "dataset_gone"
    assert fleet.tell(running, "heartbeat", token=token).status_code == 409


def test_an_output_that_comes_after_the_end_replaces_its_promise_and_is_told_once(services, fleet, job):
    token = fleet.claim(job["id"])["token"]
    fleet.tell(job["id"], "finish", token=token)
    made = JobOutput(name="model", kind="model_version", registered_model="picosam2", version=3)
    for _ in range(2):
        with services.sessions.begin() as session:
            service.output_ready(session, job["id"], made)
    with services.sessions() as session:
        assert session.query(JobEventRow).filter_by(job_id=job["id"], type="output").count() == 1
    assert [output["version"] for output in fleet.get(job["id"])["outputs"]] == [3]


def test_an_import_that_succeeds_without_a_dataset_is_refused(services, fleet, new_dataset):
    importing = new_dataset(state=DatasetState.IMPORTING, splits={})
    import_job = an_import(services, importing)
    answer = fleet.tell(import_job, "finish", token=fleet.claim(import_job)["token"])
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.dataset")
    assert dataset_state(services, importing) == "importing"


def test_models_of_a_finished_job_are_promised_until_the_registry_has_them(fleet, job):
    token = fleet.claim(job["id"])["token"]
    model = {"output": "model", "registered_model": "picosam2", "run_id": "run1"}
    assert fleet.tell(job["id"], "finish", token=token, register_models=[model]).status_code == 204
    [output] = fleet.get(job["id"])["outputs"]
    assert (output["kind"], output["registered_model"], output["version"]) == ("model_version", "picosam2", None)
