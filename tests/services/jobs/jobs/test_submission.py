"""Every kind of job on its way in: what is refused, at which place, and what a worker is told."""

import pytest

from services.jobs.jobs import needs, submission
from shared.contracts.base import digest_of
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, SamSize
from shared.contracts.jobs import JobKind
from shared.kit.problems import InvalidRequest
from tests.services.jobs.jobs.conftest import a_submission

DIGEST = f"sha256:{'a' * 64}"


def distil(fleet, **teacher):
    body = a_submission(teacher={"kind": "sam2"} | teacher)
    return fleet.http.post("/v1/jobs/distillation", json=body, headers=fleet.user)


def errors(answer):
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


def test_without_the_published_checkpoint_it_is_said_where_it_is_and_what_fetches_it(fleet, dataset):
    answer = distil(fleet, size="base_plus")
    assert errors(answer) == ["body.teacher.checkpoint"]
    (error,) = answer.json()["errors"]
    assert PUBLISHED_CHECKPOINTS[SamSize.BASE_PLUS].url in error["message"]
    assert "`picofleet teachers fetch sam2.1-base-plus`" in error["hint"]
    assert fleet.http.get("/v1/jobs", headers=fleet.user).json()["items"] == []


def test_a_checkpoint_that_is_here_is_named_in_the_job(fleet, dataset, services, published):
    services.blobs.put_bytes(published)
    job = distil(fleet).json()
    assert job["spec"]["teacher"]["checkpoint"] == {"digest": digest_of(published), "url": None}
    claim = fleet.claim(job["id"])
    assert (claim["kind"], claim["models"]) == ("distillation", {})
    assert claim["spec"]["teacher"]["checkpoint"]["digest"] == digest_of(published)
    assert [grant["name"] for grant in claim["datasets"]] == ["shapes", "shapes"]


def test_a_repeated_submission_has_its_first_answer_though_the_checkpoint_is_gone(fleet, dataset, services, published):
    services.blobs.put_bytes(published)
    body, headers = a_submission(teacher={"kind": "sam2"}), fleet.user | {"Idempotency-Key": "once"}
    first = fleet.http.post("/v1/jobs/distillation", json=body, headers=headers)
    services.blobs.delete(digest_of(published))
    second = fleet.http.post("/v1/jobs/distillation", json=body, headers=headers)
    assert (first.status_code, second.status_code, first.json()) == (201, 201, second.json())
    assert len(fleet.http.get("/v1/jobs", headers=fleet.user).json()["items"]) == 1


def test_random_weights_need_no_checkpoint_and_are_not_replaced_by_one(fleet, dataset, services, published):
    services.blobs.put_bytes(published)
    assert distil(fleet, allow_random_weights=True).json()["spec"]["teacher"]["checkpoint"] is None


def test_a_checkpoint_of_ones_own_is_a_blob_or_lies_where_a_url_says(fleet, dataset, services):
    answer = distil(fleet, checkpoint={"digest": DIGEST})
    assert errors(answer) == ["body.teacher.checkpoint"]
    assert DIGEST in answer.json()["detail"]
    assert distil(fleet, checkpoint={"digest": DIGEST, "url": "/models/sam.pt"}).status_code == 201
    uploaded = services.blobs.put_bytes(b"fine-tuned").digest
    assert distil(fleet, checkpoint={"digest": uploaded}).status_code == 201


@pytest.mark.parametrize("url", ["sam.pt", "ftp://host/sam.pt", "file://host/sam.pt", "https://", "javascript:x", ""])
def test_a_checkpoint_lies_behind_http_or_in_a_file(fleet, dataset, url):
    assert errors(distil(fleet, checkpoint={"digest": DIGEST, "url": url})) == ["body.teacher.sam2.checkpoint.url"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dataset": {"dataset": "nothing", "split": "val"}}, "body.dataset.dataset"),
        ({"dataset": {"dataset": "shapes", "split": "nothing"}}, "body.dataset.split"),
        ({"models": []}, "body.models"),
        ({"models": [{"model": "m/1"}] * 2}, "body"),
        ({"borders": ["authors", "sideways"]}, "body.borders.1"),
        ({"jitter": [0, 2]}, "body.jitter.1"),
    ],
)
def test_a_bad_evaluation_is_refused_by_field(fleet, dataset, change, field, monkeypatch):
    monkeypatch.setattr(needs, "models_of", lambda _: [])  # these are about all but the models
    body = {"models": [{"model": "m/1"}], "dataset": {"dataset": "shapes", "split": "val"}} | change
    assert errors(fleet.http.post("/v1/jobs/evaluation", json=body, headers=fleet.user)) == [field]


def test_published_checkpoints_are_listed_with_whether_they_are_here(fleet, services, published):
    def listed():
        found = fleet.http.get("/v1/teachers", headers=fleet.user).json()
        return {teacher["name"]: (teacher["present"], teacher["size_bytes"]) for teacher in found}

    absent = {"sam2.1-small": (False, None), "sam2.1-base-plus": (False, None), "sam2.1-large": (False, None)}
    assert listed() == {"sam2.1-tiny": (False, 156_008_466), **absent}
    services.blobs.put_bytes(published)
    assert listed() == {"sam2.1-tiny": (True, len(published)), **absent}


def test_a_document_that_is_no_submission_is_refused_below_the_place_that_it_stands_at():
    document = a_submission(recipe={"samples": 0})
    with pytest.raises(InvalidRequest) as refused:
        submission.parse(JobKind.TRAINING, document, place="body.steps.1.spec")
    assert [error["field"] for error in refused.value.members["errors"]] == ["body.steps.1.spec.recipe.samples"]
    with pytest.raises(InvalidRequest, match=r"body\.steps\.1\.spec\.kind: dataset_import cannot be submitted"):
        submission.parse(JobKind.DATASET_IMPORT, {}, place="body.steps.1.spec")


def test_what_is_not_known_yet_is_not_looked_at_and_the_rest_is(services, dataset):
    teacher = {"kind": "model", "model": "later/1"}
    body = submission.parse(JobKind.DISTILLATION, a_submission("nothing", teacher=teacher))
    everywhere = {"teacher.model", "train.0.dataset", "validation"}
    for unknown, field in ((everywhere, None), (everywhere - {"validation"}, "there.validation.dataset")):
        wanted = submission.look_up(services, body, place="there", unknown=unknown)
        with services.sessions.begin() as session:
            if field is None:
                assert submission.check(session, wanted) == ([], {})
                continue
            with pytest.raises(InvalidRequest) as refused:
                submission.check(session, wanted)
            assert [error["field"] for error in refused.value.members["errors"]] == [field]


def test_a_parent_hears_of_its_jobs_and_of_no_others(services, fleet, dataset, monkeypatch):
    told = []
    monkeypatch.setattr(services.messenger, "take", lambda signals: told.extend(signals.loops))
    fleet.act(fleet.submit()["id"], "cancel")
    assert told == []
    wanted = submission.look_up(services, submission.parse(JobKind.TRAINING, a_submission()))
    parent = submission.JobParent(kind="pipeline", id="0197a000-0000-7000-8000-00000000000a", part="train")
    with services.sessions.begin() as session:
        child = submission.submit(session, wanted, owner="ada", parent=parent).id
    fleet.act(child, "cancel")
    assert "pipelines.advance" in told
