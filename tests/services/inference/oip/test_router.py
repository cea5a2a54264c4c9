"""HTTP as it comes from anybody: every refusal below /v2 is an error as the protocol has it."""

import pytest

INFER = "/v2/models/street/infer"


def error_of(answer):
    """Its status and text; an answer of another form fails."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"], body
    return answer.status_code, body["error"]


def test_probes_need_no_key(client):
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_every_refusal_is_an_error_of_the_protocol(client, deployed, viewer):
    deployed("street")
    assert error_of(client.get("/v2"))[0] == 401
    assert client.get("/v2").headers["WWW-Authenticate"].startswith("Bearer")
    assert error_of(client.get("/v2/nothing", headers=viewer)) == (404, "There is no route /v2/nothing.")
    assert error_of(client.get(INFER, headers=viewer))[0] == 405
    assert error_of(client.get("/v2/models/road", headers=viewer))[0] == 404
    assert error_of(client.get("/v2/models/street/versions/9/ready", headers=viewer))[0] == 404
    assert error_of(client.post(INFER, headers=viewer, content=b"{")) == (
        400,
        "The request's JSON is not valid: EOF while parsing an object at line 1 column 1.",
    )
    compressed = client.post(INFER, headers=viewer | {"Content-Encoding": "gzip"}, content=b"{}")
    assert error_of(compressed) == (400, "Compressed requests are not offered; send the body as it is.")
    assert client.get("/v1/nothing").headers["Content-Type"] == "application/problem+json"


@pytest.fixture
def settings(settings):
    """With little room for requests."""
    return settings.model_copy(update={"max_oip_bytes": 1 << 20})


def test_too_large_bodies_are_refused_declared_or_not(client, deployed, viewer):
    deployed("street")
    content = bytes((1 << 20) + 1)
    assert error_of(client.post(INFER, headers=viewer, content=content))[0] == 413
    assert error_of(client.post(INFER, headers=viewer, content=iter([content[:1000], content])))[0] == 413


def test_a_deployment_that_is_being_loaded_is_not_ready(client, services, viewer):
    services.table.note("street", "its versions are being loaded.")
    status, error = error_of(client.get("/v2/models/street/ready", headers=viewer))
    assert (status, "being loaded" in error) == (503, True)


def test_a_defect_is_answered_without_telling_of_the_inside(client, deployed, viewer, monkeypatch):
    served = deployed("street")
    monkeypatch.setattr(type(served.parts[0].loaded.runner), "run", lambda *_, **__: 1 / 0)
    window = {"name": "window", "datatype": "FP32", "shape": [1, 3, 96, 96], "data": [0] * 27648}
    answer = client.post(INFER, headers=viewer, json={"inputs": [window]})
    assert error_of(answer) == (500, "The request failed inside the service.")


def test_a_wrong_length_of_the_json_is_refused(client, deployed, viewer):
    deployed("street")
    for length in ("100000", "-5", "x", "4"):
        headers = viewer | {"Inference-Header-Content-Length": length}
        assert error_of(client.post(INFER, headers=headers, content=b'{"inputs": []}' + bytes(100)))[0] == 400


def test_a_request_in_json_is_answered_in_json_under_its_id(client, deployed, viewer):
    deployed("street", seed=3)
    window = {"name": "window", "datatype": "FP32", "shape": [1, 3, 96, 96], "data": [0] * 27648}
    answer = client.post(INFER, headers=viewer, json={"inputs": [window], "id": "x"}).json()
    assert (answer["id"], answer["model_version"], answer["outputs"][0]["shape"]) == ("x", "4", [1, 1, 96, 96])
