"""Jobs over HTTP, as users see them."""

import pytest

from services.jobs.jobs import service, submission
from shared.contracts.datasets import DatasetState
from shared.contracts.imports import ModelImportSpec
from shared.contracts.jobs import JobKind, JobOut, JobParent, TrainingSubmission

DIGEST = f"sha256:{'a' * 64}"


def test_a_submitted_job_is_queued_with_all_defaults_written_out(fleet, dataset):
    job = fleet.submit(name="first", tags={"team": "edge"})
    assert (job["state"], job["kind"], job["attempt"], job["owner"]) == ("queued", "training", 0, "a-operator")
    assert (job["name"], job["tags"]) == ("first", {"team": "edge"})
    assert job["spec"]["recipe"]["batch_size"] == 16
    assert "name" not in job["spec"]
    assert JobOut.model_validate(fleet.get(job["id"])).created_at.tzinfo is not None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"recipe": {"batch_size": 0}}, "body.recipe.batch_size"),
        ({"recipe": {"batchsize": 8}}, "body.recipe.batchsize"),
        ({"validation": {"dataset": "nothing", "split": "val"}}, "body.validation.dataset"),
        ({"validation": {"dataset": "shapes", "split": "nothing"}}, "body.validation.split"),
        ({"validation": {"dataset": "shapes", "split": "train"}}, "body"),
        ({"tags": {"no spaces": "x"}}, "body.tags.no spaces.[key]"),
    ],
)
def test_a_bad_submission_is_refused_by_field(fleet, dataset, change, field):
    body = {"train": [{"dataset": "shapes", "split": "train"}], "validation": {"dataset": "shapes", "split": "val"}} | change
    answer = fleet.http.post("/v1/jobs/training", json=body, headers=fleet.user)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_dataset_whose_import_failed_is_refused_with_the_reason(fleet, new_dataset):
    new_dataset(state=DatasetState.FAILED, error="no annotations")
    body = {"train": [{"dataset": "shapes", "split": "train"}], "validation": {"dataset": "shapes", "split": "val"}}
    answer = fleet.http.post("/v1/jobs/training", json=body, headers=fleet.user)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/dataset-not-ready")
    assert "no annotations" in answer.json()["detail"]


def test_the_same_idempotency_key_makes_one_job(fleet, dataset):
    body = {"train": [{"dataset": "shapes", "split": "train"}], "validation": {"dataset": "shapes", "split": "val"}}
    headers = fleet.user | {"Idempotency-Key": "once"}
    first, second = (fleet.http.post("/v1/jobs/training", json=body, headers=headers) for _ in range(2))
    assert first.json() == second.json()
    assert len(fleet.http.get("/v1/jobs", headers=fleet.user).json()["items"]) == 1
    other = fleet.http.post("/v1/jobs/training", json=body | {"name": "other"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (409, "/problems/idempotency-conflict")


def test_the_list_is_newest_first_and_goes_on_by_cursor(fleet, dataset):
    ids = [fleet.submit()["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = fleet.http.get("/v1/jobs", headers=fleet.user, params=params).json()
        seen += [job["id"] for job in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == ids[::-1]


def test_filters_narrow_the_list_and_all_must_match(fleet, new_dataset):
    new_dataset(), new_dataset("coco")
    one = fleet.submit(tags={"team/a": "edge", "run": "1"}, name="x")["id"]
    two = fleet.submit(tags={"team/a": "edge"})["id"]
    fleet.act(two, "cancel")

    def found(**params):
        return {job["id"] for job in fleet.http.get("/v1/jobs", headers=fleet.user, params=params).json()["items"]}

    assert found(tag="team/a=edge") == {one, two}
    assert found(tag=["team/a=edge", "run=1"]) == {one}
    assert found(state=["queued", "running"]) == {one}
    assert found(state="cancelled", kind="training", owner="a-operator") == {two}
    assert found(name="x") == {one}
    assert found(owner="somebody") == found(kind="model_import") == found(dataset="coco") == set()
    assert found(dataset="shapes") == {one, two}


@pytest.mark.parametrize("params", [{"state": "asleep"}, {"tag": "novalue"}, {"cursor": "x"}, {"limit": 0}])
def test_a_bad_filter_is_refused(fleet, params):
    assert fleet.http.get("/v1/jobs", headers=fleet.user, params=params).status_code == 422


@pytest.mark.parametrize("job_id", ["0197a000-0000-7000-8000-000000000000", "nothing", "%C3%A9"])
def test_an_unknown_job_is_a_problem_on_every_route(fleet, job_id):
    answers = [fleet.http.get(f"/v1/jobs/{job_id}{rest}", headers=fleet.user) for rest in ("", "/events", "/logs")]
    answers += [fleet.http.post(f"/v1/jobs/{job_id}/{verb}", headers=fleet.user) for verb in ("cancel", "retry")]
    answers += [fleet.tell(job_id, "claim", worker="w"), fleet.tell(job_id, "finish", token=1)]
    answers += [fleet.tell(job_id, "heartbeat", token=1)]
    assert {(a.status_code, a.json()["type"]) for a in answers} == {(404, "/problems/job-not-found")}


def test_cancel_of_a_queued_job_is_immediate(fleet, job):
    assert fleet.act(job["id"], "cancel").json()["state"] == "cancelled"
    assert fleet.act(job["id"], "cancel").json()["state"] == "cancelled"


def test_cancel_of_a_running_job_asks_its_worker_to_stop(fleet, job):
    token = fleet.claim(job["id"])["token"]
    assert fleet.act(job["id"], "cancel").json()["state"] == "cancelling"
    assert fleet.tell(job["id"], "heartbeat", token=token).json()["stop_requested"] is True
    fleet.tell(job["id"], "finish", token=token, cancelled=True)
    assert fleet.get(job["id"])["state"] == "cancelled"


def test_a_job_that_is_over_can_be_neither_cancelled_nor_retried(fleet, job):
    fleet.tell(job["id"], "finish", token=fleet.claim(job["id"])["token"])
    cancel, retry = fleet.act(job["id"], "cancel"), fleet.act(job["id"], "retry")
    assert (cancel.status_code, cancel.json()["type"]) == (409, "/problems/job-not-cancellable")
    assert (retry.status_code, retry.json()["type"]) == (409, "/problems/job-not-retryable")


@pytest.mark.parametrize(("params", "step"), [({}, 200), ({"from_checkpoint": "false"}, None)])
def test_a_retry_goes_on_from_the_last_checkpoint_unless_told_otherwise(fleet, job, params, step):
    token = fleet.claim(job["id"])["token"]
    fleet.tell(job["id"], "checkpoint", token=token, step=200, files={"model": DIGEST})
    error = {"type": "diverged", "message": "loss is nan", "hint": "lower the learning rate"}
    fleet.tell(job["id"], "finish", token=token, error=error)
    assert fleet.get(job["id"])["error"] == error
    again = fleet.act(job["id"], "retry", **params).json()
    assert (again["state"], again["error"], again["finished_at"]) == ("queued", None, None)
    claim = fleet.claim(job["id"])
    assert (claim["attempt"], claim["token"] > token) == (2, True)
    assert (claim["checkpoint"] or {}).get("step") == step


def test_the_examples_of_all_kinds_are_valid_and_the_training_one_works_as_it_is(fleet, dataset):
    kinds = {kind["kind"]: kind for kind in fleet.http.get("/v1/jobs/kinds", headers=fleet.user).json()}
    assert set(kinds) == {kind.value for kind in JobKind}
    training = kinds["training"]
    assert training["json_schema"]["$defs"]["Recipe"]["properties"]["batch_size"]["default"] == 16
    assert training["example"]["train"] == [{"dataset": "shapes", "split": "train"}]
    answer = fleet.http.post("/v1/jobs/training", json=training["example"], headers=fleet.user)
    assert answer.status_code == 201


def test_without_datasets_the_training_example_is_still_valid(fleet):
    training = fleet.http.get("/v1/jobs/kinds", headers=fleet.user).json()[0]
    TrainingSubmission.model_validate(training["example"])


def test_the_examples_of_distillation_and_evaluation_can_be_read_and_name_what_is_there(fleet, dataset, services, published):
    kinds = {kind["kind"]: kind for kind in fleet.http.get("/v1/jobs/kinds", headers=fleet.user).json()}
    for kind in (JobKind.DISTILLATION, JobKind.EVALUATION):
        assert kinds[kind]["submit"] == f"POST /v1/jobs/{kind}"
        submission.parse(kind, kinds[kind]["example"])
    assert kinds["distillation"]["example"]["teacher"] == {"kind": "model", "model": "picosam2/1"}
    services.blobs.put_bytes(published)
    kinds = {kind["kind"]: kind for kind in fleet.http.get("/v1/jobs/kinds", headers=fleet.user).json()}
    answer = fleet.http.post("/v1/jobs/distillation", json=kinds["distillation"]["example"], headers=fleet.user)
    assert answer.status_code == 201, answer.text


def test_jobs_are_found_by_what_they_are_part_of_and_say_so(fleet, dataset, services):
    parent = JobParent(kind="sweep", id="0197a000-0000-7000-8000-00000000000a", part="3")
    fleet.submit()
    spec = ModelImportSpec(blob=DIGEST, format="onnx")
    with services.sessions.begin() as session:
        child = service.enqueue(session, spec=spec, owner="ada", parent=parent, parent_run_id="f00").id
    found = fleet.http.get("/v1/jobs", headers=fleet.user, params={"parent": parent.id}).json()["items"]
    assert [(job["id"], job["parent"]) for job in found] == [(child, parent.model_dump())]
    assert fleet.http.get("/v1/jobs", headers=fleet.user, params={"parent": "other"}).json()["items"] == []
    assert fleet.claim(child)["parent_run_id"] == "f00"


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/v1/jobs", "viewer"),
        ("GET", "/v1/jobs/kinds", "viewer"),
        ("GET", "/v1/jobs/x", "viewer"),
        ("GET", "/v1/jobs/x/events", "viewer"),
        ("GET", "/v1/jobs/x/logs", "viewer"),
        ("GET", "/v1/workers", "viewer"),
        ("GET", "/v1/teachers", "viewer"),
        ("POST", "/v1/jobs/training", "operator"),
        ("POST", "/v1/jobs/distillation", "operator"),
        ("POST", "/v1/jobs/evaluation", "operator"),
        ("POST", "/v1/jobs/x/cancel", "operator"),
        ("POST", "/v1/jobs/x/retry", "operator"),
        ("POST", "/v1/worker/hello", "worker"),
        ("POST", "/v1/worker/jobs/x/claim", "worker"),
        ("POST", "/v1/worker/jobs/x/heartbeat", "worker"),
        ("POST", "/v1/worker/jobs/x/progress", "worker"),
        ("PUT", "/v1/worker/jobs/x/checkpoint", "worker"),
        ("POST", "/v1/worker/jobs/x/finish", "worker"),
    ],
)
def test_every_route_wants_a_key_with_its_scope(client, viewer, operator, worker, method, path, least):
    refused = {"viewer": [worker], "operator": [viewer, worker], "worker": [viewer, operator]}[least]
    assert client.request(method, path).status_code == 401
    assert {client.request(method, path, headers=key).status_code for key in refused} == {403}
    allowed = {"viewer": viewer, "operator": operator, "worker": worker}[least]
    assert client.request(method, path, headers=allowed).status_code not in {401, 403}


def test_another_feature_enqueues_in_its_own_transaction(services, fleet, sent):
    spec = ModelImportSpec(blob=DIGEST, format="onnx")
    with services.sessions.begin() as session:
        job = service.enqueue(session, spec=spec, owner="ada", name="weights", tags={"a": "b"})
        assert sent() == []
    assert sent() == [job.id]
    assert fleet.get(job.id)["spec"]["format"] == "onnx"


def test_logs_come_as_text_and_as_json(fleet, job):
    token = fleet.claim(job["id"])["token"]
    lines = [{"message": f"line {n}"} for n in range(3)] + [{"level": "warning", "message": "hot"}]
    fleet.tell(job["id"], "progress", token=token, report_no=1, logs=lines)
    text = fleet.log(job["id"]).splitlines()
    assert [line.split(" ", 1)[1] for line in text] == ["INFO    line 0", "INFO    line 1", "INFO    line 2", "WARNING hot"]
    url, after, seen = f"/v1/jobs/{job['id']}/logs", 0, []
    while after is not None:
        page = fleet.http.get(url, headers=fleet.user, params={"format": "json", "limit": 3, "after": after}).json()
        seen, after = seen + [line["message"] for line in page["items"]], page["next_after"]
    assert seen == ["line 0", "line 1", "line 2", "hot"]


def test_a_retry_repeated_with_the_same_key_is_answered_and_not_refused(fleet, job):
    fleet.act(job["id"], "cancel")
    headers = fleet.user | {"Idempotency-Key": "again"}
    answers = [fleet.http.post(f"/v1/jobs/{job['id']}/retry", headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
