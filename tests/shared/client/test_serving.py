"""Deployments and segmentation of the SDK, against a scripted service: what goes wrong on the wire."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.client.errors import DeploymentFailed, ProblemError, UnexpectedAnswer, Unusable
from shared.client.sdk import PicofleetClient
from shared.contracts.deployments import CpuTarget
from shared.contracts.segmentation import Everything, Output, Prompt
from tests.shared.client.answers import a_deployment, a_page, a_problem, a_replica, a_segmentation

Answer = Callable[..., Any]
SPEC = CpuTarget.model_validate({"versions": [{"model": "picosam2/2"}]})
POINT = [Prompt(point=(40, 50))]


@pytest.fixture
def fleet(script: Any) -> Iterator[PicofleetClient]:
    """A client whose jobs service is nobody."""
    with PicofleetClient("http://127.0.0.1:9", "pf_key", inference_url=script.url) as client:
        yield client


def test_an_image_is_sent_as_it_is_beside_what_is_asked(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_segmentation())]
    found = fleet.segment(b"\xff\xd8 pixels \x00", POINT, deployment="fast", output=Output.RLE)
    assert (found.model, found.objects[0].area) == ("picosam2/2", 2000)
    ((method, path, headers, body),) = script.requests
    assert (method, path, headers["Authorization"]) == ("POST", "/v1/segment", "Bearer pf_key")
    assert b"\xff\xd8 pixels \x00" in body
    assert b'"deployment":"fast"' in body
    assert b'"output":"rle"' in body


def test_a_file_is_read_from_its_path(fleet: PicofleetClient, script: Any, answer: Answer, tmp_path: Path) -> None:
    script.handlers = [answer(200, a_segmentation())]
    (tmp_path / "a.jpg").write_bytes(b"pixels")
    fleet.segment(tmp_path / "a.jpg", everything=Everything())
    assert b"pixels" in script.requests[0][3]
    with pytest.raises(Unusable, match=r"nothing\.jpg cannot be read"):
        fleet.segment(tmp_path / "nothing.jpg", POINT)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again_when_it_says(fleet: PicofleetClient, script: Any, answer: Answer, status: int) -> None:
    busy = answer(status, a_problem(status, "128 requests wait already"), Retry_After="0")
    script.handlers = [busy, busy, answer(200, a_segmentation())]
    assert fleet.segment(b"pixels", POINT).generation == 3
    assert len(script.requests) == 3
    assert all(b"pixels" in body for _, _, _, body in script.requests), "each time with the image"


def test_a_service_that_stays_busy_is_told_of(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    script.handlers = [answer(429, a_problem(429, "128 requests wait already"), Retry_After="0")]
    with pytest.raises(ProblemError, match="128 requests wait already"):
        fleet.segment(b"pixels", POINT)


def test_a_strangers_answer_is_no_segmentation(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, '{"hello": "world"}')]
    with pytest.raises(UnexpectedAnswer, match="SegmentOut"):
        fleet.segment(b"pixels", POINT)


def test_the_jobs_service_is_asked_where_no_other_is_named(script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_deployment()))]
    with PicofleetClient(script.url, "pf_key") as client:
        assert [found.name for found in client.deployments.list()] == ["default"]


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({"error": "There is no group."}, "cannot begin: There is no group"),
        ({"begun": True, "state": "rolled_back", "reason": "2 of 5 failed"}, "is rolled_back: 2 of 5 failed"),
        ({"begun": True, "returns": True, "state": "finished"}, "is finished"),
        ({"begun": True, "state": "running"}, "is running after"),
        ({}, "is still being made after"),
    ],
)
def test_a_rollout_that_does_not_end_well_is_told(
    fleet: PicofleetClient, script: Any, answer: Answer, rollout: dict[str, Any], said: str
) -> None:
    spec = {"target": "fleet:berlin", "package": "picosam2/3"}
    script.handlers = [answer(200, a_deployment(spec=spec, versions=[], replicas=[], ready=False, rollout=rollout))]
    with pytest.raises(DeploymentFailed, match=said):
        fleet.deployments.wait_ready("default", wait_s=0)


def test_the_environment_names_the_inference_service(script: Any, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOFLEET_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PICOFLEET_INFERENCE_URL", script.url)
    script.handlers = [answer(200, a_deployment())]
    with PicofleetClient(api_key="pf_key") as client:
        assert client.deployments.get("default").ready
    assert script.asked[0][2]["authorization"] == "Bearer pf_key"


def test_a_deployment_is_waited_for_until_all_replicas_serve_it(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    loading = a_deployment(ready=False, replicas=[a_replica(state="loading", generation=None)])
    script.handlers = [answer(201, loading), answer(200, loading), answer(200, a_deployment())]
    assert fleet.deployments.put("default", SPEC, wait_s=30).ready
    assert [method for method, *_ in script.asked] == ["PUT", "GET", "GET"]
    assert json.loads(script.requests[0][3])["versions"][0]["model"] == "picosam2/2"


def test_a_replica_that_cannot_serve_it_is_named_with_its_words(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    failed = a_replica(replica="node-7", state="failed", error="the digest of model.onnx is another")
    script.handlers = [answer(200, a_deployment(ready=False, generation=2, replicas=[a_replica(), failed]))]
    with pytest.raises(DeploymentFailed, match=r"node-7 cannot serve generation 2 .*digest") as caught:
        fleet.deployments.put("default", SPEC, wait_s=30)
    assert "picofleet deployments show default" in caught.value.hint


@pytest.mark.parametrize(("replicas", "said"), [([], "no replica"), ([a_replica(state="loading")], "not all replicas")])
def test_waiting_ends_in_time(
    fleet: PicofleetClient, script: Any, answer: Answer, replicas: list[dict[str, Any]], said: str
) -> None:
    script.handlers = [answer(200, a_deployment(ready=False, replicas=replicas))]
    with pytest.raises(DeploymentFailed, match=said):
        fleet.deployments.put("default", SPEC, wait_s=0.1)


def test_names_are_quoted_wherever_they_stand(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    script.handlers = [answer(404, a_problem(404, "There is no such deployment."))]
    assert fleet.deployments.find("../keys?x=1#") is None
    with pytest.raises(ProblemError):
        fleet.deployments.delete("../keys")
    assert [path for _, path, _ in script.asked] == ["/v1/deployments/..%2Fkeys%3Fx%3D1%23", "/v1/deployments/..%2Fkeys"]


def test_a_rollback_is_one_call(fleet: PicofleetClient, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_deployment(generation=4, reason="rollback to 2"))]
    assert fleet.deployments.rollback("default", 2).generation == 4
    assert script.asked[0][:2] == ("POST", "/v1/deployments/default/rollback")
    assert json.loads(script.requests[0][3]) == {"generation": 2}
