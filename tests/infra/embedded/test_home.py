import os
import socket
import stat
from pathlib import Path

import pytest

from infra.embedded import home as home_module
from infra.embedded.errors import PlatformError
from infra.embedded.home import SOCKET_PATH_LIMIT, Home, runtime_folder


def test_folders_are_the_owners_alone(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    home.create()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home.path, home.keys, home.run, home.logs)}
    assert set(modes.values()) == {0o700}


def test_a_home_made_readable_for_others_is_closed_again(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Home.at(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_one_folder_has_one_name(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert Home.at(tmp_path / "link") == Home.at(f"{tmp_path}/x/..") == Home.at(tmp_path)


def test_a_long_path_gets_a_socket_that_can_be_bound(tmp_path: Path) -> None:
    homes = [Home.at(tmp_path / ("é" * 60) / str(number)) for number in range(2)]
    assert len({home.socket for home in homes}) == 2
    for home in homes:
        assert len(os.fsencode(home.socket)) <= SOCKET_PATH_LIMIT
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(os.fsencode(home.socket) + b".1234567")
        Path(f"{home.socket}.1234567").unlink()


def test_a_short_path_keeps_its_socket_inside() -> None:
    home = Home.at("/tmp/picofleet-home")
    assert home.socket.is_relative_to(home.path)


def test_a_runtime_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module.tempfile, "gettempdir", lambda: "/tmp")
    monkeypatch.setattr(home_module.os, "getuid", lambda: 987_654_321)
    folder = Path("/tmp/picofleet-987654321")
    try:
        with pytest.raises(PlatformError, match="not a folder of yours alone"):
            runtime_folder()
    finally:
        folder.rmdir()


def test_control_characters_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="control characters"):
        Home.at(tmp_path / "a\nb")


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlatformError, match="file"):
        Home.at(tmp_path / "file" / "home").create()


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    home.create()
    home.log("jobs").write_text("".join(f"line {number}\n" for number in range(5000)))
    assert home.log_tail("jobs", 2) == ["line 4998", "line 4999"]
    assert home.log_tail("mlflow") == []
