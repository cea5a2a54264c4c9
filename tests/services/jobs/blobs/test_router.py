"""Blobs over HTTP."""

import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.contracts.base import digest_of

CONTENT = os.urandom(2_500_000)
DIGEST = digest_of(CONTENT)


def pieces(content, size=100_000):
    yield from (content[at : at + size] for at in range(0, len(content), size))


def upload(client, headers, content=CONTENT, **query):
    return client.post("/v1/blobs", content=pieces(content), params=query, headers=headers)


def stored_files(settings):
    return [path for path in Path(settings.blob_url).rglob("*") if path.is_file()]


def test_an_upload_is_named_by_its_content_and_comes_back_unchanged(client, operator):
    made = upload(client, operator)
    assert (made.status_code, made.json()) == (201, {"digest": DIGEST, "size_bytes": len(CONTENT)})
    answer = client.get(f"/v1/blobs/{DIGEST}", headers=operator)
    assert answer.content == CONTENT
    assert answer.headers["etag"] == f'"{DIGEST}"'


def test_a_worker_may_upload_and_download_too(client, worker):
    assert upload(client, worker, b"abc", digest=digest_of(b"abc")).status_code == 201
    assert client.get(f"/v1/blobs/{digest_of(b'abc')}", headers=worker).content == b"abc"


def test_the_same_upload_again_gets_the_same_answer(client, operator, settings):
    assert upload(client, operator).json() == upload(client, operator).json()
    assert len(stored_files(settings)) == 1


def test_an_empty_blob_is_a_blob(client, operator):
    made = client.post("/v1/blobs", content=b"", headers=operator)
    assert made.json() == {"digest": digest_of(b""), "size_bytes": 0}
    assert client.get(f"/v1/blobs/{digest_of(b'')}", headers=operator).content == b""


def test_another_content_than_announced_is_refused(client, operator, settings):
    answer = upload(client, operator, digest=digest_of(b"other"))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/digest-mismatch")
    assert answer.json()["actual"] == DIGEST
    assert stored_files(settings) == []


@pytest.mark.parametrize("streamed", [True, False])
def test_too_large_a_blob_is_refused_and_not_kept(client, operator, settings, streamed):
    content = b"x" * (settings.max_blob_bytes + 1)
    answer = client.post("/v1/blobs", content=pieces(content) if streamed else content, headers=operator)
    assert answer.status_code == 413
    assert stored_files(settings) == []


def test_json_is_bytes_like_any_other(client, operator):
    answer = client.post("/v1/blobs", content=b"[NaN", headers=operator | {"Content-Type": "application/json"})
    assert answer.json()["digest"] == digest_of(b"[NaN")


def test_head_tells_size_and_presence(client, operator):
    assert client.head(f"/v1/blobs/{DIGEST}", headers=operator).status_code == 404
    upload(client, operator)
    answer = client.head(f"/v1/blobs/{DIGEST}", headers=operator)
    assert (answer.status_code, answer.headers["content-length"]) == (200, str(len(CONTENT)))


def test_a_broken_download_is_taken_up_again(client, operator):
    upload(client, operator)
    answer = client.get(f"/v1/blobs/{DIGEST}", headers=operator | {"Range": "bytes=1000000-", "If-Range": f'"{DIGEST}"'})
    assert (answer.status_code, answer.content) == (206, CONTENT[1_000_000:])


@pytest.mark.parametrize("digest", ["x", "sha256:" + "0" * 63, "sha256:..%2F..%2Fetc%2Fpasswd", "sha256:" + "G" * 64])
def test_what_is_no_digest_is_refused(client, operator, digest):
    assert client.get(f"/v1/blobs/{digest}", headers=operator).status_code in {404, 422}
    assert client.post("/v1/blobs", params={"digest": digest}, content=b"", headers=operator).status_code == 422


def test_viewers_and_strangers_get_no_bytes(client, operator, viewer):
    upload(client, operator)
    assert client.get(f"/v1/blobs/{DIGEST}", headers=viewer).status_code == 403
    assert client.get(f"/v1/blobs/{DIGEST}").status_code == 401
    assert upload(client, viewer).status_code == 403


def test_an_upload_that_breaks_off_leaves_nothing(client, operator, settings):
    url = urlsplit(str(client.base_url))
    with socket.create_connection((url.hostname, url.port)) as raw:
        lines = ["POST /v1/blobs HTTP/1.1", "Host: x", "Content-Length: 2000000", f"Authorization: {operator['Authorization']}"]
        raw.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * 1_500_000)
        time.sleep(0.2)
    give_up = time.monotonic() + 5
    while stored_files(settings) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert stored_files(settings) == []
