import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.embedded import ports
from infra.embedded.errors import PlatformError


@pytest.fixture(autouse=True)
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ports, "runtime_folder", lambda: tmp_path)
    return tmp_path / "ports.json"


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield int(server.getsockname()[1])


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_default_is_taken_if_it_is_free() -> None:
    port = a_free_port()
    assert ports.choose("a", {}, {"jobs": port}) == {"jobs": port}


def test_a_busy_default_gives_way_to_the_next_free_one(busy: int) -> None:
    assert not ports.is_free(busy)
    chosen = ports.choose("a", {}, {"jobs": busy})["jobs"]
    assert chosen > busy
    assert (chosen - busy) % ports.STEP == 0


def test_the_port_of_last_time_is_kept() -> None:
    last, default = a_free_port(), a_free_port()
    assert ports.choose("a", {"jobs": last}, {"jobs": default}) == {"jobs": last}


def test_a_port_of_last_time_that_somebody_else_took_is_given_up(busy: int) -> None:
    default = a_free_port()
    assert ports.choose("a", {"jobs": busy}, {"jobs": default}) == {"jobs": default}


def test_two_platforms_that_start_at_once_get_different_ports() -> None:
    default = a_free_port()
    with ThreadPoolExecutor(8) as pool:
        chosen = list(pool.map(lambda owner: ports.choose(str(owner), {}, {"jobs": default})["jobs"], range(8)))
    assert len(set(chosen)) == 8


def test_two_names_never_share_a_port() -> None:
    port = a_free_port()
    assert len(set(ports.choose("a", {}, {"x": port, "y": port}).values())) == 2


def test_the_same_platform_gets_its_reserved_port_again() -> None:
    port = a_free_port()
    assert ports.choose("a", {}, {"jobs": port}) == ports.choose("a", {}, {"jobs": port})


def test_a_reservation_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    port = a_free_port()
    ports.choose("a", {}, {"jobs": port})
    now = ports.time.time()
    monkeypatch.setattr(ports.time, "time", lambda: now + ports.RESERVED_S + 1)
    assert ports.choose("b", {}, {"jobs": port}) == {"jobs": port}


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"1": 2})])
def test_a_damaged_register_costs_nothing(register: Path, content: str) -> None:
    register.write_text(content)
    port = a_free_port()
    assert ports.choose("a", {}, {"jobs": port}) == {"jobs": port}


def test_no_free_port_is_said(busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "TRIES", 1)
    with pytest.raises(PlatformError, match="No free port for jobs"):
        ports.choose("a", {}, {"jobs": busy})
