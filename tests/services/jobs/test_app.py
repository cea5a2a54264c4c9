"""What holds for all routes of the service, whoever adds one."""

import subprocess
import sys

import pytest

OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
"""Routes without a key: a probe has none. They tell nothing but ok or failed."""

SHORT = {"/v1/workers"}
"""Lists that come whole: there are few workers."""

NATURALLY_IDEMPOTENT = {"/v1/blobs"}
"""Named by its content. So is every cancel: again is no error."""


@pytest.fixture
def operations(app):
    """Method, path and OpenAPI entry of all routes."""
    paths = app.openapi()["paths"]
    return [(method.upper(), path, entry) for path, entries in paths.items() for method, entry in entries.items()]


def ask(client, method, path, headers=None):
    """Status of a request with some path; what it is about does not exist."""
    digest = "sha256:" + "0" * 64
    for name, value in {"digest": digest, "key": "0" * 64, "version": "1"}.items():
        path = path.replace(f"{{{name}}}", value)
    parts = ["nothing" if part.startswith("{") else part for part in path.split("/")]
    return client.request(method, "/".join(parts), headers=headers).status_code


def test_without_a_key_every_door_is_shut(client, operations):
    assert len(operations) > 20
    unlocked = {(method, path) for method, path, _ in operations if ask(client, method, path) != 401}
    assert unlocked == OPEN


def test_a_viewer_changes_nothing(client, operations, viewer):
    changing = [(method, path) for method, path, _ in operations if method not in {"GET", "HEAD"}]
    assert {one for one in changing if ask(client, *one, viewer) != 403} == set()


def test_the_worker_protocol_is_for_workers_and_they_do_nothing_else(client, operations, operator, worker):
    protocol = [(method, path) for method, path, _ in operations if path.startswith("/v1/worker/")]
    assert {one for one in protocol if ask(client, *one, operator) != 403} == set()
    artifact = "/v1/models/{name}/versions/{version}/artifacts/{path}"
    shared = {"/v1/blobs", "/v1/blobs/{digest}", "/v1/keys/self", artifact}
    others = [
        (method, path) for method, path, _ in operations if (method, path) not in {*protocol, *OPEN} and path not in shared
    ]
    assert {one for one in others if ask(client, *one, worker) != 403} == set()


def test_every_creation_takes_an_idempotency_key(operations):
    lacking = set()
    for method, path, entry in operations:
        taken = {parameter["name"].lower() for parameter in entry.get("parameters", [])}
        repeatable = path.startswith("/v1/worker/") or path.endswith("/cancel")
        if method == "POST" and not repeatable and "idempotency-key" not in taken:
            lacking.add(path)
    assert lacking == NATURALLY_IDEMPOTENT


def test_every_list_is_paged(operations):
    for method, path, entry in operations:
        schema = entry.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        if method == "GET" and path not in SHORT and schema.get("$ref", "").rpartition("/")[2].startswith("Page_"):
            assert {"limit", "cursor"} <= {parameter["name"] for parameter in entry.get("parameters", [])}, path


def test_every_route_is_documented(operations):
    assert [(method, path) for method, path, entry in operations if not entry.get("description")] == []


def test_the_description_is_whole(client):
    document = client.get("/openapi.json").json()
    assert "ProblemDetails" in document["components"]["schemas"]


def test_unknown_fields_of_users_are_refused_everywhere(app):
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for path, entries in document["paths"].items():
        content = entries.get("post", {}).get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
        if reference and not path.startswith("/v1/worker/"):
            assert schemas[reference].get("additionalProperties") is False, path


def test_the_service_imports_no_torch():
    script = "import sys, services.jobs.app; sys.exit(sorted({'torch', 'mlflow', 'cv2'} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True)
