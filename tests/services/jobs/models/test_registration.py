"""A promised version is made once, whatever dies when."""

import dataclasses
import threading

import pytest
from sqlalchemy import update

from services.jobs.jobs.models import Job, JobDataset
from services.jobs.models import registration, repository
from services.jobs.models.domain import retry_after
from services.jobs.models.models import ModelVersion, RegistrationState
from shared.contracts.jobs import JobOutput
from shared.kit.database import db_now
from shared.kit.mlflow_api import MlflowApi, MlflowAway


class Died(BaseException):
    """The process ends here; not an Exception, so that no handler of ours notices."""


def make_due(services):
    with services.sessions.begin() as session:
        session.execute(update(ModelVersion).values(next_attempt_at=db_now(session)))


def outputs(services, job_id):
    with services.sessions() as session:
        return session.get_one(Job, job_id).outputs


def test_a_promised_version_is_registered_with_its_tags(services, make, mlflow):
    job_id = make.job(team="vision")
    make.finish(job_id, description="the first", tags={"git_commit": "abc"}, metrics={"miou_96": 0.4})
    registration.tick(services)
    version = mlflow.get_version(make.name, 1)
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert tags == {
        "team": "vision",
        "git_commit": "abc",
        "picofleet.job_id": job_id,
        "picofleet.output": "model",
        "picofleet.owner": "ada",
        "picofleet.parents": "",
    }
    assert version["description"] == "the first"


def test_the_job_tells_its_version_in_outputs_and_events(services, make, client, viewer):
    job_id = make.job()
    make.finish(job_id)
    registration.tick(services)
    made = JobOutput(name="model", kind="model_version", registered_model=make.name, version=1)
    wanted = made.model_dump(mode="json")
    assert outputs(services, job_id) == [wanted]
    assert client.get(f"/v1/jobs/{job_id}", headers=viewer).json()["outputs"] == [wanted]


def test_two_outputs_become_two_versions(services, make):
    job_id = make.job()
    make.finish(job_id, "model", "ema")
    registration.tick(services)
    assert {row.output: row.state for row in make.rows(job_id)} == {"ema": "registered", "model": "registered"}
    assert make.versions_in_mlflow() == [1, 2]


def test_dying_between_mlflows_answer_and_our_commit_makes_no_second_version(services, make, monkeypatch):
    job_id = make.job()
    make.finish(job_id)

    def die(*args: object) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(registration, "_settle", die)
        with pytest.raises(Died):
            registration.tick(services)
    assert make.rows(job_id)[0].state == RegistrationState.PENDING
    make_due(services)
    registration.tick(services)
    assert make.versions_in_mlflow() == [1]
    assert outputs(services, job_id)[0]["version"] == 1
    assert make.version() == 2  # nor was a second one made and taken back


def test_an_answer_that_never_came_makes_no_second_version(services, make, monkeypatch):
    job_id = make.job()
    make.finish(job_id)
    create = MlflowApi.create_version

    def create_in_silence(*args: object, **values: object) -> None:
        create(*args, **values)  # type: ignore[arg-type]
        raise MlflowAway("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowApi, "create_version", create_in_silence)
        registration.tick(services)
    make_due(services)
    registration.tick(services)
    assert make.versions_in_mlflow() == [1]
    assert make.rows(job_id)[0].version == 1


def test_a_row_that_one_replica_has_taken_is_left_alone(services, make):
    job_id = make.job()
    make.finish(job_id)
    with services.sessions.begin() as session:
        assert repository.take_due(session, db_now(session), registration._HOLD) is not None
    registration.tick(services)
    assert make.rows(job_id)[0].state == RegistrationState.PENDING


def test_replicas_that_meet_all_the_same_agree_on_one_version(services, make):
    job_id = make.job()
    make.finish(job_id)
    (row,) = make.rows(job_id)
    barrier, found = threading.Barrier(4), []

    def replica():
        barrier.wait()
        found.append(registration.find_or_create(services.mlflow, row))

    threads = [threading.Thread(target=replica) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registration.tick(services)
    assert make.versions_in_mlflow() == [make.rows(job_id)[0].version]


def test_while_mlflow_is_away_the_row_waits(services, make):
    job_id = make.job()
    make.finish(job_id)
    with MlflowApi("http://127.0.0.1:9") as nobody:
        registration.tick(dataclasses.replace(services, mlflow=nobody))
    (row,) = make.rows(job_id)
    assert (row.state, row.attempts) == (RegistrationState.PENDING, 1)
    assert "cannot be reached" in row.error
    make_due(services)
    registration.tick(services)
    assert make.rows(job_id)[0].state == RegistrationState.REGISTERED


def test_what_mlflow_refuses_is_told_in_the_jobs_log(services, make, client, viewer):
    job_id = make.job()
    make.finish(job_id, run_id=make.run(files={}))
    registration.tick(services)
    (row,) = make.rows(job_id)
    assert row.state == RegistrationState.FAILED
    assert "has no files" in client.get(f"/v1/jobs/{job_id}/logs", headers=viewer).text
    assert make.versions_in_mlflow() == []


def test_parents_are_the_datasets_and_the_initial_model(services, make, client, viewer):
    first = make.version()
    job_id = make.job(initial=make.grant(first))
    with services.sessions.begin() as session:
        for position, split in enumerate(("train", "val")):
            session.add(
                JobDataset(job_id=job_id, position=position, dataset_id="d1", dataset_name="coco", split=split, role=split)
            )
    make.finish(job_id)
    registration.tick(services)
    version = client.get(f"/v1/models/{make.name}/versions/2", headers=viewer).json()
    assert version["parents"] == ["d1", f"{make.name}/{first}"]
    assert version["tags"]["picofleet.parents"] == f"d1 {make.name}/{first}"


def test_waiting_times_grow_to_a_minute():
    assert [retry_after(n).total_seconds() for n in (0, 1, 2, 3, 7, 1000)] == [1, 1, 2, 4, 60, 60]
