"""Models over HTTP, against a real MLflow."""

import time

import pytest

from services.jobs.jobs import service as jobs
from services.jobs.models import registration
from shared.contracts.base import digest_of
from shared.kit.mlflow_api import MlflowApi


@pytest.fixture
def url(make):
    return f"/v1/models/{make.name}"


# Reading


def test_a_model_is_listed_with_its_newest_version_and_aliases(client, viewer, operator, make, url):
    make.version(), make.version()
    client.put(f"{url}/aliases/champion", json={"version": 1}, headers=operator)
    model = client.get(url, headers=viewer).json()
    assert (model["name"], model["latest_version"], model["aliases"]) == (make.name, 2, {"champion": 1})
    names = [each["name"] for each in client.get("/v1/models?limit=200", headers=viewer).json()["items"]]
    assert make.name in names
    assert names == sorted(names)


def test_lists_are_paged(client, viewer, make, url):
    for _ in range(3):
        make.version()
    first = client.get(f"{url}/versions?limit=2", headers=viewer).json()
    rest = client.get(f"{url}/versions?limit=2&cursor={first['next_cursor']}", headers=viewer).json()
    assert [each["version"] for each in first["items"] + rest["items"]] == [3, 2, 1]
    assert rest["next_cursor"] is None
    models = client.get("/v1/models?limit=1", headers=viewer).json()
    assert len(models["items"]) == 1


def test_a_version_tells_its_files_metrics_and_job(client, viewer, make, url, saved_files):
    job_id = make.job()
    make.finish(job_id, metrics={"miou_96": 0.41})
    registration.tick(make.services)
    version = client.get(f"{url}/versions/1", headers=viewer).json()
    assert version["artifacts"] == sorted(saved_files)
    assert (version["job_id"], version["metrics"]) == (job_id, {"miou_96": 0.41})


@pytest.mark.parametrize("cursor", ["bm90LWEtY3Vyc29y", "WyJub3QgYSB0b2tlbiJd"])
@pytest.mark.parametrize("path", ["/v1/models", "{url}/versions"])
def test_a_cursor_of_another_list_is_refused(client, viewer, make, url, path, cursor):
    make.version()
    answer = client.get(f"{path.format(url=url)}?cursor={cursor}", headers=viewer)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "query.cursor"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/v1/models/nobody", "model-not-found"),
        ("/v1/models/it's", "model-not-found"),
        ("/v1/models/a:b", "model-not-found"),
        ("/v1/models/nobody/versions", "model-not-found"),
        ("{url}/versions/99", "version-not-found"),
        ("{url}/versions/1/artifacts/nothing.bin", "artifact-not-found"),
        ("{url}/versions/1/artifacts/sub", "artifact-not-found"),
        ("{url}/versions/1/artifacts/%2e%2e/model/model.onnx", "artifact-not-found"),
        ("{url}/versions/1/artifacts/sub%2f..%2f..%2fx", "artifact-not-found"),
    ],
)
def test_what_is_not_there_is_a_404_that_says_so(client, viewer, make, url, path, problem):
    make.version()
    answer = client.get(path.format(url=url), headers=viewer)
    assert (answer.status_code, answer.json()["type"]) == (404, f"/problems/{problem}")


# Downloading


def test_a_file_comes_whole_and_in_ranges(client, viewer, make, url, saved_files):
    make.version()
    file, content = f"{url}/versions/1/artifacts/model.onnx", saved_files["model.onnx"]
    whole = client.get(file, headers=viewer)
    assert (whole.status_code, whole.content) == (200, content)
    assert int(whole.headers["Content-Length"]) == len(content)
    part = client.get(file, headers={**viewer, "Range": "bytes=300000-300099"})
    assert (part.status_code, part.content) == (206, content[300000:300100])
    rest = client.get(file, headers={**viewer, "Range": "bytes=-5", "If-Range": whole.headers["ETag"]})
    assert rest.content == content[-5:]
    head = client.head(file, headers=viewer)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(content)))


def test_a_file_in_a_folder_and_the_workers_key(client, worker, make, url):
    make.version()
    assert client.get(f"{url}/versions/1/artifacts/sub/example.json", headers=worker).content == b"{}"


def test_a_download_is_passed_on_in_chunks(client, viewer, make, url, monkeypatch, saved_files):
    """The service asks MLflow for the file as a stream: it never calls the route that reads an answer whole."""
    make.version()
    sizes = []
    plain = MlflowApi.download

    def watched(*args, **values):
        return Watching(plain(*args, **values), sizes)

    monkeypatch.setattr(MlflowApi, "download", watched)
    content = client.get(f"{url}/versions/1/artifacts/model.onnx", headers=viewer).content
    assert content == saved_files["model.onnx"]
    assert len(sizes) >= 3
    assert max(sizes) <= 256 * 1024


class Watching:
    def __init__(self, inner, sizes):
        self.inner, self.sizes = inner, sizes

    def __enter__(self):
        opened = self.inner.__enter__()
        return type(opened)(self.counted(opened.chunks), opened.first_byte, opened.content_type)

    def __exit__(self, *exc):
        return self.inner.__exit__(*exc)

    def counted(self, chunks):
        for chunk in chunks:
            self.sizes.append(len(chunk))
            yield chunk


# Promoting


def test_promoting_moves_the_alias(client, operator, make, url):
    make.version(), make.version()
    for version in (1, 2):
        answer = client.put(f"{url}/aliases/champion", json={"version": version}, headers=operator)
        assert (answer.status_code, answer.json()["aliases"]) == (200, ["champion"])
    listed = client.get(f"{url}/versions", headers=operator).json()["items"]
    assert {each["version"]: each["aliases"] for each in listed} == {1: [], 2: ["champion"]}
    assert client.delete(f"{url}/aliases/champion", headers=operator).status_code == 204
    assert client.delete(f"{url}/aliases/champion", headers=operator).status_code == 204
    assert client.get(url, headers=operator).json()["aliases"] == {}


@pytest.mark.parametrize("alias", ["latest", "v1", "Champion", "1", "a.b", "a b", "x" * 64, "ü"])
def test_a_name_that_cannot_be_an_alias_is_refused(client, operator, make, url, alias):
    make.version()
    answer = client.put(f"{url}/aliases/{alias}", json={"version": 1}, headers=operator)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-alias")
    assert answer.json()["errors"][0]["field"] == "path.alias"


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "x"}, {}, {"version": 1, "more": 2}])
def test_a_promotion_names_a_version_and_nothing_else(client, operator, url, body):
    assert client.put(f"{url}/aliases/champion", json=body, headers=operator).status_code == 422


def test_a_version_that_is_not_there_cannot_be_promoted(client, operator, make, url):
    make.version()
    answer = client.put(f"{url}/aliases/champion", json={"version": 7}, headers=operator)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/version-not-found")


# Deleting


def test_a_version_that_nothing_depends_on_is_deleted_and_its_number_not_used_again(client, operator, make, url):
    make.version(), make.version()
    assert client.delete(f"{url}/versions/2", headers=operator).status_code == 204
    assert client.get(f"{url}/versions/2", headers=operator).status_code == 404
    assert client.delete(f"{url}/versions/2", headers=operator).status_code == 404
    assert make.version() == 3


def test_a_version_in_use_is_kept_and_everything_that_uses_it_is_named(client, operator, make, url):
    used, child = make.version(), None
    client.put(f"{url}/aliases/champion", json={"version": used}, headers=operator)
    child = make.version(initial=make.grant(used))
    job_id = make.job(initial=make.grant(used))
    answer = client.delete(f"{url}/versions/{used}", headers=operator)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/version-in-use")
    body = answer.json()
    assert (body["aliases"], body["versions"]) == (["champion"], [f"{make.name}/{child}"])
    assert job_id in body["jobs"]
    assert all(word in body["detail"] for word in ("champion", f"{make.name}/{child}", job_id))
    assert client.get(f"{url}/versions/{used}", headers=operator).status_code == 200


def test_what_no_longer_depends_on_a_version_does_not_keep_it(client, operator, make, url, services):
    used = make.version()
    child = make.version(initial=make.grant(used))
    with services.sessions.begin() as session:
        for job in client.get("/v1/jobs?limit=200", headers=operator).json()["items"]:
            jobs.cancel(session, job["id"])
    assert client.delete(f"{url}/versions/{used}", headers=operator).status_code == 409
    assert client.delete(f"{url}/versions/{child}", headers=operator).status_code == 204
    assert client.delete(f"{url}/versions/{used}", headers=operator).status_code == 204


def test_a_deletion_that_mlflow_broke_off_is_finished_by_the_same_call(client, operator, make, url, monkeypatch):
    make.version()
    with monkeypatch.context() as patch:
        patch.setattr(MlflowApi, "delete_version", lambda self, *_: self._get("no/such/route", {}))
        assert client.delete(f"{url}/versions/1", headers=operator).status_code == 404
    refused = client.put(f"{url}/aliases/champion", json={"version": 1}, headers=operator)
    assert "being deleted" in refused.json()["detail"]
    assert client.delete(f"{url}/versions/1", headers=operator).status_code == 204


# Keys


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "{url}/aliases/champion"),
        ("DELETE", "{url}/aliases/champion"),
        ("DELETE", "{url}/versions/1"),
        ("POST", "/v1/models/import"),
    ],
)
def test_a_viewer_changes_nothing(client, viewer, url, method, path):
    body = {"blob": "sha256:" + "1" * 64, "format": "onnx"} if method == "POST" else {"version": 1}
    assert client.request(method, path.format(url=url), json=body, headers=viewer).status_code == 403
    assert client.request(method, path.format(url=url), json=body).status_code == 401


@pytest.mark.parametrize("path", ["/v1/models", "{url}", "{url}/versions", "{url}/versions/1", "{url}/versions/1/artifacts/x"])
def test_nothing_is_shown_without_a_key(client, url, path):
    assert client.get(path.format(url=url)).status_code == 401


# Importing


def uploaded(client, operator, content=b"weights"):
    client.post("/v1/blobs", content=content, headers=operator)
    return digest_of(content)


def test_an_import_becomes_a_job(client, operator):
    body = {"blob": uploaded(client, operator), "format": "onnx", "name": "theirs", "tags": {"from": "paper"}}
    answer = client.post("/v1/models/import", json=body, headers=operator)
    assert answer.status_code == 202
    job = client.get(f"/v1/jobs/{answer.json()['id']}", headers=operator).json()
    assert (job["kind"], job["state"], job["name"], job["tags"]) == ("model_import", "queued", "theirs", {"from": "paper"})
    assert job["spec"]["register_as"] == "picosam2"


def test_an_import_with_an_idempotency_key_is_queued_once(client, operator):
    body = {"blob": uploaded(client, operator), "format": "onnx"}
    headers = {**operator, "Idempotency-Key": "k"}
    first, second = (client.post("/v1/models/import", json=body, headers=headers) for _ in range(2))
    assert (first.json(), first.status_code) == (second.json(), second.status_code)


def test_an_import_of_weights_that_were_not_uploaded_is_refused(client, operator):
    body = {"blob": "sha256:" + "1" * 64, "format": "onnx"}
    answer = client.post("/v1/models/import", json=body, headers=operator)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.blob"
    assert "POST /v1/blobs" in answer.json()["errors"][0]["hint"]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "pickle"},
        {"blob": "abc"},
        {"register_as": "Bad Name"},
        {"input_scale": "x"},
        {"more": 1},
        {"architecture": "x"},
    ],
)
def test_an_import_with_a_wrong_field_is_refused(client, operator, change):
    body = {"blob": uploaded(client, operator), "format": "onnx"} | change
    answer = client.post("/v1/models/import", json=body, headers=operator)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"body.{next(iter(change))}"


# MLflow away


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "{url}"),
        ("GET", "{url}/versions"),
        ("GET", "{url}/versions/1"),
        ("GET", "{url}/versions/1/artifacts/x"),
        ("DELETE", "{url}/versions/1"),
        ("PUT", "{url}/aliases/champion"),
        ("DELETE", "{url}/aliases/champion"),
    ],
)
def test_without_mlflow_the_answer_is_a_503_within_seconds(client, operator, url, services, method, path):
    silent = MlflowApi("http://127.0.0.1:9", timeout_s=5)
    object.__setattr__(services, "mlflow", silent)
    begun = time.monotonic()
    body = {"version": 1} if method == "PUT" else None
    answer = client.request(method, path.format(url=url), json=body, headers=operator)
    assert time.monotonic() - begun < 5
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/registry-away")
    assert int(answer.headers["Retry-After"]) > 0
    assert "MLflow" in answer.json()["hint"]
