"""From every version back to the data and the teacher, and on to what was made from it."""

import pytest
from sqlalchemy import delete

from services.jobs.datasets.models import Dataset
from services.jobs.jobs import service as jobs
from services.jobs.jobs import submission
from services.jobs.jobs.models import Job, JobModel
from services.jobs.models import lineage, registration
from services.jobs.models.errors import VersionInUse
from services.jobs.models.service import delete_version
from shared.contracts.base import digest_of
from shared.contracts.jobs import JobKind, JobState
from shared.contracts.worker import RegisterModel
from tests.services.jobs.jobs.conftest import a_dataset, a_submission


class Story:
    """Runs jobs to their end as a worker would."""

    def __init__(self, make, http, user, worker):
        self.make, self.http, self.user, self.worker = make, http, user, worker
        with make.services.sessions.begin() as session:
            self.dataset = a_dataset(session).id

    def submit(self, kind, **body):
        base = {} if kind == "evaluation" else a_submission(register_as=self.make.name)
        answer = self.http.post(f"/v1/jobs/{kind}", json=base | body, headers=self.user)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def evaluate(self, *models):
        split = {"dataset": "shapes", "split": "val"}
        return self.submit("evaluation", models=[{"model": model} for model in models], dataset=split)

    def claim(self, job_id):
        return self.http.post(f"/v1/worker/jobs/{job_id}/claim", json={"worker": "w"}, headers=self.worker).json()

    def end(self, job_id, **finish):
        message = {"token": self.claim(job_id)["token"]} | finish
        answer = self.http.post(f"/v1/worker/jobs/{job_id}/finish", json=message, headers=self.worker)
        assert answer.status_code == 204, answer.text
        return job_id

    def run(self, kind, **body):
        """A job that makes a version: its id and the version as name/version."""
        register = RegisterModel(
            output="model", registered_model=self.make.name, run_id=self.make.run(), metrics={"miou_96": 0.4}
        )
        job_id = self.end(self.submit(kind, **body), register_models=[register.model_dump()])
        registration.tick(self.make.services)
        return job_id, f"{self.make.name}/{self.make.rows(job_id)[0].version}"

    def lineage(self, version):
        answer = self.http.get(f"/v1/models/{version.replace('/', '/versions/')}/lineage", headers=self.user)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def story(make, client, operator, worker):
    return Story(make, client, operator, worker)


def edges_of(found):
    ids = {node["id"] for node in found["nodes"]}
    assert len(ids) == len(found["nodes"])
    assert {end for edge in found["edges"] for end in (edge["source"], edge["target"])} == ids, "nothing hangs loose"
    return {(edge["source"], edge["role"], edge["split"], edge["target"]) for edge in found["edges"]}


def by_id(found):
    return {node["id"]: node for node in found["nodes"]}


def test_a_lineage_leads_up_to_data_and_teacher_and_down_to_versions_and_evaluations(story):
    trained, first = story.run("training", name="the first")
    distilled, second = story.run("distillation", teacher={"kind": "model", "model": first}, initial_model=first)
    looked = story.end(story.evaluate(second, first), result={"miou_96": 0.5, "models": {}, "exact": True})
    data = f"dataset:{story.dataset}"
    fitted = {
        (data, "train", "train", f"job:{trained}"),
        (data, "validation", "val", f"job:{trained}"),
        (f"job:{trained}", "model", None, f"version:{first}"),
        (f"version:{first}", "teacher", None, f"job:{distilled}"),
        (f"version:{first}", "initial_model", None, f"job:{distilled}"),
        (data, "train", "train", f"job:{distilled}"),
        (data, "validation", "val", f"job:{distilled}"),
        (f"job:{distilled}", "model", None, f"version:{second}"),
    }
    evaluated = {(f"version:{second}", "models.0", None, f"job:{looked}"), (data, "dataset", "val", f"job:{looked}")}
    up = story.lineage(second)
    assert up["root"] == up["nodes"][0]["id"] == f"version:{second}"
    assert edges_of(up) == fitted | evaluated
    nodes = by_id(up)
    assert {node: nodes[node]["distance"] for node in nodes if not node.startswith("dataset")} == {
        f"version:{second}": 0,
        f"job:{distilled}": -1,
        f"version:{first}": -2,
        f"job:{trained}": -3,
        f"job:{looked}": 1,
    }
    assert (nodes[data]["label"], nodes[data]["digest"], nodes[data]["gone"]) == ("shapes", digest_of(b"shapes"), False)
    assert nodes[f"job:{looked}"]["figures"] == {"miou_96": 0.5}
    assert (nodes[f"job:{trained}"]["label"], nodes[f"job:{distilled}"]["job_kind"]) == ("the first", "distillation")
    assert nodes[f"version:{first}"]["figures"] == {"miou_96": 0.4}
    down = story.lineage(first)
    second_look = {(f"version:{first}", "models.1", None, f"job:{looked}")}
    assert edges_of(down) == fitted | evaluated | second_look
    assert [node["distance"] for node in down["nodes"]] == sorted((n["distance"] for n in down["nodes"]), key=abs)


def test_sams_weights_stand_in_the_lineage_of_what_they_taught(story, services, published):
    services.blobs.put_bytes(published)
    job, version = story.run("distillation", teacher={"kind": "sam2"})
    found = story.lineage(version)
    weights = f"checkpoint:{digest_of(published)}"
    assert (weights, "teacher", None, f"job:{job}") in edges_of(found)
    assert (by_id(found)[weights]["label"], by_id(found)[weights]["digest"]) == ("sam2.1-tiny", digest_of(published))


def test_jobs_that_came_to_nothing_are_left_out_and_running_ones_are_shown(story):
    _, version = story.run("training")
    broken = {"type": "diverged", "message": "m", "hint": "h"}
    story.end(story.submit("training", initial_model=version), error=broken)
    waiting = story.submit("training", initial_model=version)
    jobs_seen = [node["id"] for node in story.lineage(version)["nodes"] if node["kind"] == "job" and node["distance"] > 0]
    assert jobs_seen == [f"job:{waiting}"]


def test_a_dataset_that_was_deleted_is_still_named_with_its_digest(story, services):
    _, version = story.run("training")
    with services.sessions.begin() as session:
        session.execute(delete(Dataset))
    node = by_id(story.lineage(version))[f"dataset:{story.dataset}"]
    assert (node["gone"], node["label"], node["digest"]) == (True, "shapes", digest_of(b"shapes"))


def test_a_version_of_unknown_origin_stands_alone_and_one_that_is_not_there_is_not_found(story, make, mlflow, client, viewer):
    mlflow.ensure_model(make.name)
    run = make.run()
    source = f"{mlflow.get_run(run)['info']['artifact_uri']}/model"
    mlflow.create_version(make.name, source=source, run_id=run, tags={}, description="")
    found = story.lineage(f"{make.name}/1")
    assert ([node["label"] for node in found["nodes"]], found["edges"]) == ([f"{make.name}/1"], [])
    missing = client.get(f"/v1/models/{make.name}/versions/2/lineage", headers=viewer)
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/version-not-found")
    assert client.get(f"/v1/models/{make.name}/versions/1/lineage").status_code == 401


def test_a_circle_ends(story, services):
    first_job, first = story.run("training")
    second_job, second = story.run("training", initial_model=first)
    name, version = second.split("/")
    with services.sessions.begin() as session:
        row = {"job_id": first_job, "role": "initial_model", "name": name, "version": int(version), "artifact_uri": "x"}
        session.add(JobModel(**row))
    ids = {f"version:{first}", f"version:{second}", f"job:{first_job}", f"job:{second_job}", f"dataset:{story.dataset}"}
    assert set(by_id(story.lineage(first))) == ids


def test_a_long_lineage_is_cut_at_its_far_end_and_says_so(story, services):
    _, version = story.run("training")
    child, made = story.run("training", initial_model=version)
    looks = [story.evaluate(version) for _ in range(5)]
    name, number = version.split("/")
    whole = lineage.of_version(services, name, int(number))
    assert (len(whole.nodes), whole.truncated) == (3 + 7, False)
    cut = lineage.of_version(services, name, int(number), limit=6)
    assert (len(cut.nodes), cut.truncated) == (6, True)
    assert {node.id for node in cut.nodes if node.distance > 0} == {
        f"job:{child}",
        f"version:{made}",
        f"job:{looks[-1]}",
    }
    assert lineage.of_version(services, name, int(number), limit=10).truncated is False


def test_a_teacher_and_an_evaluated_version_cannot_be_deleted_while_they_are_needed(story, services):
    _, teacher = story.run("training")
    name, number = teacher.split("/")
    job = story.submit("distillation", teacher={"kind": "model", "model": teacher})
    look = story.evaluate(teacher)
    with pytest.raises(VersionInUse) as refused:
        delete_version(services, name, int(number))
    assert refused.value.members["jobs"] == [job, look]
    for each in (job, look):
        story.http.post(f"/v1/jobs/{each}/cancel", headers=story.user)
    _, child = story.run("distillation", teacher={"kind": "model", "model": teacher})
    with pytest.raises(VersionInUse) as refused:
        delete_version(services, name, int(number))
    assert refused.value.members["versions"] == [child]
    shown = story.http.get(f"/v1/models/{child.replace('/', '/versions/')}", headers=story.user).json()
    assert shown["parents"] == [story.dataset, teacher]


def test_a_retry_whose_teacher_was_deleted_meanwhile_fails_and_says_so(story, services):
    _, teacher = story.run("training")
    job = story.submit("distillation", teacher={"kind": "model", "model": teacher})
    story.http.post(f"/v1/jobs/{job}/cancel", headers=story.user)
    delete_version(services, story.make.name, int(teacher.split("/")[1]))
    story.http.post(f"/v1/jobs/{job}/retry", headers=story.user)
    assert story.claim(job)["type"] == "/problems/not-claimable"
    failed = story.http.get(f"/v1/jobs/{job}", headers=story.user).json()
    assert (failed["state"], failed["error"]["type"]) == ("failed", "model_gone")
    assert teacher in failed["error"]["message"]


def test_a_worker_is_told_every_version_in_its_role(story, mlflow):
    versions = [story.run("training")[1] for _ in range(2)]
    mlflow.set_alias(story.make.name, "champion", int(versions[1].split("/")[1]))
    job = story.submit(
        "distillation", teacher={"kind": "model", "model": f"{story.make.name}@champion"}, initial_model=versions[0]
    )
    told = {role: f"{grant['name']}/{grant['version']}" for role, grant in story.claim(job)["models"].items()}
    assert told == {"teacher": versions[1], "initial_model": versions[0]}
    told = {
        role: f"{grant['name']}/{grant['version']}" for role, grant in story.claim(story.evaluate(*versions))["models"].items()
    }
    assert told == {"models.0": versions[0], "models.1": versions[1]}


def test_a_wrong_version_is_refused_at_its_place(story, client, operator):
    _, known = story.run("training")
    distil = a_submission(teacher={"kind": "model", "model": "nobody@champion"}, initial_model=known)
    look = {"models": [{"model": known}, {"model": f"{known}9"}], "dataset": {"dataset": "shapes", "split": "val"}}
    for kind, body, field in (("distillation", distil, "body.teacher.model"), ("evaluation", look, "body.models.1.model")):
        answer = client.post(f"/v1/jobs/{kind}", json=body, headers=operator)
        assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (422, [field])


def test_a_parent_hears_of_a_version_and_also_that_none_will_come(story, services, make, monkeypatch):
    parent = submission.JobParent(kind="pipeline", id="0197a000-0000-7000-8000-00000000000a", part="train")
    for files, state in (({"model.onnx": b"x"}, "registered"), ({}, "failed")):
        wanted = submission.look_up(services, submission.parse(JobKind.TRAINING, a_submission()))
        with services.sessions.begin() as session:
            child = submission.submit(session, wanted, owner="ada", parent=parent).id
        make.finish(child, run_id=make.run(files=files))
        told = []
        with monkeypatch.context() as patch:
            patch.setattr(services.messenger, "take", lambda signals, told=told: told.extend(signals.loops))
            registration.tick(services)
        assert make.rows(child)[0].state == state
        assert "pipelines.advance" in told
        with services.sessions() as session:
            assert session.get_one(Job, child).state is JobState.QUEUED
            assert jobs.get(session, child).parent == parent
