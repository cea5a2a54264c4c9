import json
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from shared.client.errors import ClientError, NotReachable, ProblemError, UnexpectedAnswer
from shared.client.sdk import PicofleetClient
from shared.client.transport import is_loopback
from shared.contracts.keys import KeyIn, KeyOut, Scope

KEY = json.dumps({"id": "1", "name": "n", "scope": "viewer", "created_at": "2026-01-01T00:00:00Z", "secret": "pf_x"})


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


def hang_up(request: BaseHTTPRequestHandler) -> None:
    """The request arrived, its answer never does."""
    request.connection.shutdown(socket.SHUT_RDWR)
    request.close_connection = True


def test_a_lost_answer_is_asked_for_again_with_the_same_idempotency_key(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [hang_up, hang_up, answer(201, KEY)]
    with PicofleetClient(script.url, "pf_k") as client:
        client.keys.create(KeyIn(name="n", scope=Scope.VIEWER))
    keys = [headers["idempotency-key"] for _, _, headers in script.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_calls_have_two_idempotency_keys(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [answer(201, KEY)]
    with PicofleetClient(script.url) as client:
        for _ in range(2):
            client.keys.create(KeyIn(name="n", scope=Scope.VIEWER))
    assert len({headers["idempotency-key"] for _, _, headers in script.asked}) == 2


def test_a_busy_service_is_asked_again_after_the_time_it_names(
    script: Any, answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    script.handlers = [answer(503, "{}", Retry_After="2"), answer(200, KEY)]
    with PicofleetClient(script.url) as client:
        assert client.keys.own().name == "n"
    assert slept == [2.0]


def test_nobody_there_is_not_reachable_and_says_how_to_start() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        with PicofleetClient(url, retries=1) as client, pytest.raises(NotReachable, match="No answer") as caught:
            client.keys.own()
    assert "picofleet up" in caught.value.hint


def test_a_problem_keeps_its_detail_hint_and_kind(script: Any, answer: Callable[..., Any]) -> None:
    problem = {
        "type": "/problems/name-taken",
        "title": "Taken",
        "status": 409,
        "detail": "It is taken.",
        "hint": "Choose another.",
    }
    script.handlers = [answer(409, json.dumps(problem), kind="application/problem+json")]
    with PicofleetClient(script.url) as client, pytest.raises(ProblemError, match="It is taken") as caught:
        client.keys.own()
    assert (caught.value.status, caught.value.kind, caught.value.hint) == (409, "name-taken", "Choose another.")


def test_a_strangers_error_page_becomes_a_problem_too(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [answer(403, "<html>proxy</html>", kind="text/html")]
    with PicofleetClient(script.url) as client, pytest.raises(ProblemError, match="HTTP 403") as caught:
        client.keys.own()
    assert "proxy" in caught.value.hint


def test_another_service_under_the_url_is_recognised(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [answer(200, "<html>hello</html>", kind="text/html")]
    with PicofleetClient(script.url) as client, pytest.raises(UnexpectedAnswer, match=KeyOut.__name__):
        client.keys.own()


def test_the_key_is_not_taken_along_by_a_redirect(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [answer(307, "", Location="http://127.0.0.2:1/elsewhere")]
    with PicofleetClient(script.url, "pf_k") as client, pytest.raises(ProblemError):
        client.keys.own()
    assert len(script.asked) == 1


def test_a_proxy_of_the_environment_does_not_stand_before_loopback(
    script: Any, answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    script.handlers = [answer(200, KEY)]
    with PicofleetClient(script.url) as client:
        assert client.keys.own().id == "1"


@pytest.mark.parametrize("url", ["", "localhost:8001", "ftp://host", "http://", "http://host:port", "/v1"])
def test_a_wrong_url_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(ClientError, match="is not a URL"):
        PicofleetClient(url)


def test_loopback() -> None:
    assert all(is_loopback(f"http://{host}:1") for host in ("localhost", "127.0.0.1", "127.9.9.9", "[::1]"))
    assert not any(is_loopback(f"http://{host}:1") for host in ("10.0.0.1", "example.org", "localhost.example.org"))
