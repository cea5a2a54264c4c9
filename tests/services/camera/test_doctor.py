import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.camera.doctor import Finding, examine
from services.camera.settings import CameraSettings
from shared.client.cli.main import main
from tests.services.camera.conftest import Maker, some_settings
from tests.services.camera.doubles import StubServer, listening


def found(settings: CameraSettings, server: StubServer) -> dict[str, Finding]:
    return {each.name: each for each in examine(settings, transport=server.transport)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.jpg").write_bytes(b"")
    return tmp_path / "images"


def test_a_machine_that_has_everything_is_told_so_and_left_as_it_is(
    server: StubServer, package: Maker, tmp_path: Path, images: Path
) -> None:
    settings = some_settings(tmp_path / "camera", package.keys, driver="simulated", images=images)
    assert [name for name, each in found(settings, server).items() if each.is_good is False] == []
    assert not (tmp_path / "camera").exists()


def test_each_thing_that_is_missing_is_named_with_what_to_do(server: StubServer, tmp_path: Path) -> None:
    server.before = lambda _: httpx.Response(401)
    looked = found(some_settings(tmp_path, tmp_path / "no-keys.json"), server)
    missing = {name for name, each in looked.items() if each.is_good is False}
    assert {"picamera2", "sensor", "keys", "server"} <= missing
    assert all(looked[name].hint for name in missing)
    assert "sudo apt install python3-picamera2" in looked["picamera2"].hint


def test_a_server_that_is_not_there_and_a_state_that_is_damaged(server: StubServer, package: Maker, tmp_path: Path) -> None:
    server.offline = True
    (tmp_path / "state.json").write_text("[")
    looked = found(some_settings(tmp_path, package.keys), server)
    assert not looked["server"].is_good
    assert not looked["state"].is_good
    assert looked["clock"].is_good is None


def test_a_wrong_clock_is_worth_a_look(server: StubServer, package: Maker, tmp_path: Path) -> None:
    server.before = lambda _: httpx.Response(200, json={}, headers={"date": "Wed, 01 Jul 2020 12:00:00 GMT"})
    clock = found(some_settings(tmp_path, package.keys), server)["clock"]
    assert clock.is_good is None
    assert "TLS" in clock.hint


def run_command(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capfd.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_the_command_examines_and_ends_with_1_if_something_is_missing(
    server: StubServer, package: Maker, tmp_path: Path, images: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("secret-of-cam-1\n")
    options = ["--controller-id", "cam-1", "--token-file", str(tmp_path / "token"), "--driver", "simulated"]
    options += ["--images", str(images), "--folder", str(tmp_path / "camera")]
    with listening(server) as url:
        options += ["--url", url]
        code, out, _ = run_command(["camera", "doctor", *options, "--keys", str(package.keys), "--json"], capfd)
        assert code == 0, out
        assert {each["name"] for each in json.loads(out)} >= {"python", "images", "disk", "keys", "server", "clock"}
        code, out, _ = run_command(["camera", "doctor", *options, "--keys", str(tmp_path / "no.json")], capfd)
    assert code == 1
    assert "missing" in out


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"--url": "ftp://x"}, "--url"),
        ({"--driver": "magic"}, "--driver"),
        ({"--driver": "simulated"}, "needs images"),
        ({"--controller-id": ""}, "--controller-id"),
    ],
)
def test_wrong_options_are_named(told: dict[str, str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    good = {"--url": "http://x", "--controller-id": "cam-1", "--token-file": str(tmp_path / "token")}
    options = [part for pair in (good | told).items() for part in pair]
    code, _, err = run_command(["camera", "run", *options], capfd)
    assert code == 2
    assert words in err


def test_two_ways_in_are_one_too_many(tmp_path: Path, package: Maker) -> None:
    changes: Any = {"gateway_token": "many-cameras-have-this"}
    with pytest.raises(ValueError, match="give one of token, token_file and gateway_token"):
        some_settings(tmp_path, package.keys, **changes)
    settings = some_settings(tmp_path, package.keys, token=None, **changes)
    assert settings.authorization() == "GatewayToken many-cameras-have-this"
