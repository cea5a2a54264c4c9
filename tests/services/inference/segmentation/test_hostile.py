"""Whatever is sent: a clear problem, and a service that goes on answering."""

import base64
import itertools
import json
import struct
import threading
import time
import zlib

import httpx
import pytest

from services.inference.segmentation.images import MAX_SIDE
from tests.services.inference.segmentation.conftest import file_of, picture

POINT = {"prompts": [{"point": [10, 10]}]}


@pytest.fixture(autouse=True)
def unharmed(ask, deployed, photo):
    """After each test the service answers a good request."""
    deployed(seed=3)
    yield
    assert ask(photo, **POINT).status_code == 200


@pytest.fixture
def refused(client, viewer):
    """``refused(422, ...)`` posts and gives the problem."""

    def post(status, **request):
        answer = client.post("/v1/segment", headers=viewer | request.pop("headers", {}), **request)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        return answer.json()

    return post


def form(content, request=None, **more):
    files = {"image": ("a.jpg", content), "request": (None, json.dumps(request or POINT))}
    return {"files": files | more}


def fields(problem):
    return [error["field"] for error in problem["errors"]]


def test_without_a_key_nothing_is_answered(client, photo):
    assert client.post("/v1/segment", **form(photo)).status_code == 401
    stranger = {"Authorization": "Bearer pf_" + "x" * 43}
    assert client.post("/v1/segment", headers=stranger, **form(photo)).status_code == 401


def test_what_is_no_image_is_refused(refused):
    for content in (b"", b"GIF89a", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"<svg/>"):
        problem = refused(422, **form(content))
        assert problem["type"] == "/problems/bad-image"
        assert "JPEG, PNG or WebP" in problem["hint"]


def test_a_truncated_image_is_refused(refused):
    for format, share in itertools.product(["JPEG", "PNG", "WEBP"], [0.1, 0.5, 0.9]):
        content = file_of(picture(), format)
        assert refused(422, **form(content[: int(share * len(content))]))["type"] == "/problems/bad-image"


def bomb(width, height):
    """A PNG of few bytes that unpacks to as many pixels as it says."""
    rows = zlib.compress(bytes((width // 8 + 1) * min(height, 20_000)), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(refused):
    for size in [(12_000, 12_000), (20_000, 20_000), (2**31 - 1, 1), (1, MAX_SIDE + 1), (8000, 8000)]:
        content = bomb(*size)
        assert len(content) < 1_000_000
        problem = refused(413, **form(content))
        assert problem["type"] == "/problems/image-too-large"
        assert problem["max_pixels"] == 50_000_000


def test_more_bytes_than_an_image_may_have_are_refused(refused, services):
    size = services.settings.max_image_bytes
    assert refused(413, **form(bytes(size + 1)))["type"] == "/problems/image-too-large"
    assert refused(413, **form(bytes(2 * size)))["type"] == "/problems/payload-too-large"


WRONG = [
    ({"prompts": []}, "body"),
    ({}, "body"),
    ({"prompts": [{"point": [1, 1]}] * 10_000}, "body.prompts"),
    ({"prompts": [{"point": [1, 1]}], "everything": {}}, "body"),
    ({"prompts": [{"point": [1, 1], "box": [1, 1, 2, 2]}]}, "body.prompts.0"),
    ({"prompts": [{}]}, "body.prompts.0"),
    ({"prompts": [{"point": [1]}]}, "body.prompts.0.point.1"),
    ({"prompts": [{"point": [1, "x"]}]}, "body.prompts.0.point.1"),
    ({"prompts": [{"point": [1, 1e300]}]}, "body.prompts.0.point.1"),
    ({"prompts": [{"point": [1, 1], "side": 0}]}, "body.prompts.0.side"),
    ({"prompts": [{"point": [1, 1], "side": 10**9}]}, "body.prompts.0.side"),
    ({"prompts": [{"point": [1, 1], "colour": "red"}]}, "body.prompts.0.colour"),
    ({"prompts": [{"point": [1, 1]}], "output": "gif"}, "body.output"),
    ({"prompts": [{"point": [1, 1]}], "deployment": "../x"}, "body.deployment"),
    ({"prompts": [{"point": [1, 1]}], "deadline_ms": 0}, "body.deadline_ms"),
    ({"prompts": [{"point": [1, 1]}], "image": "AAAA"}, "body.image"),
    ({"everything": {"points_per_side": 1000}}, "body.everything.points_per_side"),
    ({"prompts": [{"point": [1, 1]}] * 3 + [{"point": [320, 5]}]}, "body.prompts.3.point"),
    ({"prompts": [{"point": [-0.01, 5]}]}, "body.prompts.0.point"),
    ({"prompts": [{"box": [5, 5, 5, 50]}]}, "body.prompts.0.box"),
    ({"prompts": [{"box": [50, 5, 5, 50]}]}, "body.prompts.0.box"),
    ({"prompts": [{"box": [400, 5, 500, 50]}]}, "body.prompts.0.box"),
]


def test_a_wrong_value_is_named(refused, photo):
    for wrong, field in WRONG:
        problem = refused(422, files={"image": ("a.jpg", photo), "request": (None, json.dumps(wrong))})
        assert field in fields(problem), wrong
        assert len(json.dumps(problem)) < 4000


def test_what_is_no_json_is_refused_in_a_form_as_in_a_body(refused, photo):
    for text in (b'{"prompts": [{"point": [NaN, 1]}]}', b'{"prompts": [{"side": 1e999}]}', b"{", b"", b"\xff"):
        parts = {"image": ("a.jpg", photo), "request": (None, text)}
        assert refused(400, files=parts)["type"] == "/problems/invalid-json"
        body = refused(400, content=text, headers={"Content-Type": "application/json"})
        assert body["type"] == "/problems/invalid-json"


def test_a_deployment_that_is_not_there_is_named(refused, photo):
    problem = refused(404, **form(photo, POINT | {"deployment": "nobody"}))
    assert (problem["type"], problem["deployment"]) == ("/problems/deployment-not-found", "nobody")


def test_a_json_body_needs_an_image_in_base64(refused):
    assert fields(refused(422, json=POINT)) == ["body.image"]
    assert fields(refused(422, json=POINT | {"image": "no base64!"})) == ["body.image"]
    assert refused(422, json=POINT | {"image": base64.b64encode(b"no image").decode()})["type"] == "/problems/bad-image"


DAMAGED = [
    ("multipart/form-data", b"--x\r\n"),
    ("multipart/form-data; boundary=" + "x" * 300, b"--x\r\n"),
    ("multipart/form-data; boundary=x", b""),
    ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--"),
    ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\nabc"),
    ("multipart/form-data; boundary=x", b"--x\r\n\r\nabc\r\n--x--\r\n"),
    ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nabc\r\n--x--\r\n'),
    ("multipart/form-data; boundary=x", b"--x--\r\n"),
]


def test_a_damaged_form_is_refused(refused):
    for kind, body in DAMAGED:
        assert refused(400, content=body, headers={"Content-Type": kind})["type"] == "/problems/bad-form", body


def test_a_form_has_an_image_and_a_request_and_nothing_else(refused, photo):
    assert "['image']" in refused(400, files={"image": ("a.jpg", photo)})["detail"]
    assert refused(400, **form(photo, more=("b.jpg", photo)))["type"] == "/problems/bad-form"
    twice = [("image", ("a.jpg", photo)), ("image", ("b.jpg", photo)), ("request", (None, json.dumps(POINT)))]
    assert refused(400, files=twice)["type"] == "/problems/bad-form"


def test_other_bodies_are_not_read(refused, photo):
    for kind in ("text/plain", "image/jpeg", "application/x-www-form-urlencoded", "", "nonsense"):
        assert refused(415, content=photo, headers={"Content-Type": kind})["type"] == "/problems/unsupported-body"


def test_windows_larger_than_the_image_take_no_more_memory_than_the_image(ask, services):
    served = services.table.get("default")
    large = file_of(picture(4000, 3000), "PNG")
    found = ask(large, prompts=[{"point": [n, n], "side": 8192} for n in range(64)], output="polygons").json()["objects"]
    assert len(found) == 64
    assert served.desk.inside == 0


def test_a_full_queue_sends_away_at_once_and_says_when_to_come_back(client, ask, deployed, photo):
    served = deployed(seed=3, parallel=1, max_queue=1)
    busy = threading.Event()
    held = served.desk._pool.submit(busy.wait)  # the only thread is at other work
    try:
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(ask(photo, **POINT)))
        second = threading.Thread(target=lambda: answers.append(ask(photo, **POINT)))
        waiting.start(), second.start()
        while served.desk.inside < 2:
            pass
        refused = ask(photo, **POINT)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
    finally:
        busy.set()
        held.result()
    waiting.join(), second.join()
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_request_that_waited_past_its_deadline_is_told_so_and_not_computed(ask, deployed, photo):
    served = deployed(seed=3, parallel=1)
    busy = threading.Event()
    held = served.desk._pool.submit(busy.wait)

    def frees_the_desk_too_late():
        while not served.desk.inside:
            time.sleep(0.01)
        time.sleep(0.1)
        busy.set()

    threading.Thread(target=frees_the_desk_too_late).start()
    answer = ask(photo, deadline_ms=50, **POINT)
    held.result()
    assert answer.status_code == 504
    assert answer.json()["waited_ms"] >= 50


def test_a_client_that_hangs_up_leaves_nothing_behind(client, viewer, deployed, photo, services):
    served = deployed(seed=3, parallel=1)
    busy = threading.Event()
    held = served.desk._pool.submit(busy.wait)
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/segment", headers=viewer, timeout=0.2, **form(photo))
    assert served.desk.inside == 1
    busy.set()
    held.result()
    served.desk._pool.submit(int).result()
    assert served.desk.inside == 0
