"""The real platform, started once for all tests here, in a home whose path holds what trips parsers up."""

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.embedded import members
from infra.embedded.control import Supervisor
from infra.embedded.errors import ProgramFailed
from infra.embedded.home import Home
from infra.embedded.platform import Up, down, status, up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    home = Home.at(tmp_path_factory.mktemp("home") / "a b 100%d #x;é \"q'")
    started = up(home, dataset_roots=[tmp_path_factory.mktemp("images")])
    yield started
    down(home)
    assert members.members(home) == []


def picofleet(home: Home, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    named = {"PICOFLEET_URL", "PICOFLEET_INFERENCE_URL", "PICOFLEET_FLEET_URL", "PICOFLEET_API_KEY", "PICOFLEET_DATA"}
    kept = {key: value for key, value in os.environ.items() if key not in named}
    command = [sys.executable, "-m", "shared.client.cli.main", *arguments]
    given = kept | {"PICOFLEET_HOME": str(home.path)} | environment
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=600, check=False)


def wait_for(is_so: Callable[[], bool], what: str, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def pids(home: Home) -> dict[str, int]:
    return {state.name: state.pid for state in Supervisor(home).processes()}


def test_everything_works_and_is_described(platform: Up) -> None:
    found = status(platform.home)
    assert found.is_up
    assert [program.name for program in found.programs] == ["redis", "mlflow", "jobs", "inference", "fleet", "worker"]
    described = json.loads(platform.home.platform.read_text())
    names = ("jobs_url", "inference_url", "inference_grpc", "fleet_url", "mlflow_url")
    assert [described[name] for name in names] == [getattr(platform, name) for name in names]


def test_every_process_is_known_without_the_supervisor(platform: Up) -> None:
    known = {process.pid for process in members.members(platform.home)}
    assert set(pids(platform.home).values()) <= known


def test_only_the_loopback_interface_is_listened_on(platform: Up) -> None:
    listening = [
        connection.laddr.ip
        for process in members.members(platform.home)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    # gRPC listens on an IPv6 socket, where an address of IPv4 is written ::ffff:127.0.0.1.
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_secrets_are_the_owners_alone(platform: Up) -> None:
    keys = {path.name: path for path in platform.home.keys.iterdir()}
    public = {name: keys.pop(name) for name in ("packages.pem.pub", "packages.public.json")}
    for path in [*keys.values(), platform.home.plan, platform.home.platform, platform.home.run / "redis.conf"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert not any(b"PRIVATE" in path.read_bytes() for path in public.values())
    assert stat.S_IMODE(platform.home.socket.stat().st_mode) == 0o600


def test_no_secret_is_on_a_command_line(platform: Up) -> None:
    secrets = [path.read_text().strip() for path in platform.home.keys.iterdir()]
    lines = [" ".join(process.cmdline()) for process in members.members(platform.home)]
    assert not [line for line in lines for secret in secrets if secret in line]


def test_redis_wants_its_password(platform: Up) -> None:
    port = json.loads((platform.home.run / "setup.json").read_text())["ports"]["redis"]
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"CONFIG GET dir\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")


def test_the_service_wants_a_key(platform: Up) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{platform.jobs_url}/v1/jobs")


def test_a_second_up_is_harmless(platform: Up) -> None:
    before = pids(platform.home)
    again = up(platform.home)
    assert not again.started
    assert again.jobs_url == platform.jobs_url
    assert pids(platform.home) == before


@pytest.mark.parametrize("program", ["redis", "jobs", "inference", "fleet", "worker"])
def test_a_killed_process_comes_back(platform: Up, program: str) -> None:
    before = pids(platform.home)[program]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: pids(platform.home)[program] not in {0, before} and status(platform.home).is_up, f"{program} is back")


def test_the_command_line_finds_platform_and_key(platform: Up) -> None:
    jobs = picofleet(platform.home, "jobs", "list", "--json")
    assert (jobs.returncode, json.loads(jobs.stdout)) == (0, [])
    workers = json.loads(picofleet(platform.home, "workers", "--json").stdout)
    assert [worker["alive"] for worker in workers] == [True]
    shown = picofleet(platform.home, "status", "--json")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["up"] is True


def test_a_refusal_is_a_message_a_hint_and_exit_code_4(platform: Up) -> None:
    outside = picofleet(platform.home, "datasets", "register", "x", "--root", "/etc", "--split", "all=a:b")
    assert outside.returncode == 4
    assert "Error:" in outside.stderr
    assert str(platform.dataset_roots[1]) in outside.stderr, "the hint names what is allowed"
    assert "Traceback" not in outside.stderr
    missing = picofleet(platform.home, "jobs", "show", "01a20397-16a2-725e-8ae8-f32d8327209b", "--json")
    assert missing.returncode == 4
    assert json.loads(missing.stderr)["problem"]["status"] == 404


def test_another_home_finds_nothing_and_says_how_to_start(platform: Up, tmp_path: Path) -> None:
    found = picofleet(Home.at(tmp_path), "jobs", "list")
    assert found.returncode == 3
    assert "picofleet up" in found.stderr
    assert platform.started


def test_a_dataset_goes_all_the_way(platform: Up) -> None:
    made = picofleet(platform.home, "datasets", "register", "shapes", "--generator", "--images", "12", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["state"] == "ready"
    report = picofleet(platform.home, "datasets", "report", "shapes")
    assert "Every row is good" in report.stdout


def test_a_second_platform_runs_beside_the_first(platform: Up, tmp_path: Path) -> None:
    other = up(Home.at(tmp_path / "other"))
    try:
        assert {other.jobs_url, other.mlflow_url}.isdisjoint({platform.jobs_url, platform.mlflow_url})
        assert status(platform.home).is_up
        _a_crash_of_the_supervisor_is_cleared_away(other)
    finally:
        down(other.home)
    assert members.members(other.home) == []
    assert status(platform.home).is_up, "the end of one is not the end of the other"
    assert down(other.home).stopped == [], "a second down is harmless"


def _a_crash_of_the_supervisor_is_cleared_away(other: Up) -> None:
    """SIGKILL to the supervisor leaves a socket, a pid file and processes that hold the ports."""
    supervisor = Supervisor(other.home)
    killed = supervisor.pid()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: supervisor.pid() is None, "the supervisor is gone")
    assert other.home.socket.exists()
    orphans = status(other.home).orphans
    assert len(orphans) >= 4
    again = up(other.home)
    assert again.started
    assert status(other.home).is_up
    assert not [pid for pid in orphans if psutil.pid_exists(pid) and _is_running(pid)]


def _is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def test_a_process_that_cannot_start_is_named_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOFLEET_JOBS_LEASE_S", "never")
    home = Home.at(tmp_path / "home")
    with pytest.raises(ProgramFailed, match="jobs ends again and again") as caught:
        up(home)
    assert any("lease_s" in line for line in caught.value.log_tail)
    assert members.members(home) == []


def test_a_port_in_use_does_not_stop_the_platform(platform: Up) -> None:
    """The first platform of these tests found whatever ports the machine had free; a listener on one of its own is told."""
    port = int(platform.jobs_url.rsplit(":", 1)[1])
    with socket.socket() as probe, pytest.raises(OSError, match="in use"):
        probe.bind(("127.0.0.1", port))


def demo(platform: Up, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return picofleet(platform.home, "demo", "--no-quantize", "--images", "40", "--samples", "64", *arguments)


@pytest.mark.timeout(1500)
def test_the_demo_ends_well_and_again_reuses_its_data(platform: Up) -> None:
    first = demo(platform)
    assert first.returncode == 0, first.stderr + first.stdout
    assert first.stdout.rstrip().splitlines()[-1].startswith("demo ok: miou_96 0.")
    assert "built-in generator" in first.stdout
    assert "nothing is rolled out to cameras" in first.stdout
    pictures: list[Any] = list((platform.home.path / "demo").glob("*/distil/samples.png"))
    assert len(pictures) == 1
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    _the_model_was_served(platform, first.stdout)
    second = demo(platform)
    assert second.returncode == 0, second.stderr + second.stdout
    assert re.search(r"Dataset shapes\S* \(reused\)", second.stdout)
    assert "prepare" not in second.stderr, "the windows are there already"
    assert status(platform.home).is_up, "a platform that was up stays up"


def _the_model_was_served(platform: Up, said: str) -> None:
    """The demo left photo, picture and answer, and the command that it prints works."""
    (answer,) = (platform.home.path / "demo").glob("*/segment.json")
    model = json.loads(answer.read_text())["model"]
    assert re.search(rf"served {re.escape(model)} in \d+ ms", said.rstrip().splitlines()[-1])
    assert (answer.parent / "overlay.png").read_bytes().startswith(b"\x89PNG")
    again = shlex.split(next(line for line in said.splitlines() if "picofleet segment" in line).partition("picofleet ")[2])
    ended = picofleet(platform.home, *again[:-1], str(answer.parent), "--json")
    assert json.loads(ended.stdout)["model"] == model, ended.stderr
    shown = picofleet(platform.home, "deployments", "show", "demo")
    assert model in shown.stdout
