"""Signed packages, and an agent between a stub server and a fake sensor."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from services.camera.agent import Agent
from services.camera.disk import Disk
from services.camera.settings import CameraSettings
from shared.kit.packages import tars
from shared.kit.packages.folder import write_package
from shared.kit.packages.keys import generate, trust
from shared.kit.packages.signing import sign_package
from tests.services.camera.doubles import BASE, FakeSensor, StubServer
from tests.shared.kit.packages.making import some_contents, some_facts

MakePackage = Callable[..., bytes]


class Maker:
    """Makes signed packages; each kind once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, bytes] = {}
        self.key = folder / "packages.pem"
        self.keys = folder / "keys.json"
        trust(self.keys, generate(self.key))

    def __call__(
        self, release: int = 7, *, key: Path | None = None, contents: dict[str, Any] | None = None, **facts: Any
    ) -> bytes:
        name = f"{release} {key} {facts} {sorted(contents or {})}"
        if name not in self._made:
            folder = self._folder / f"package-{len(self._made)}"
            write_package(folder, some_facts(release=release, **facts), some_contents() | (contents or {}))
            sign_package(folder, key or self.key)
            tars.pack(folder, tar := folder.with_suffix(".tar"))
            self._made[name] = tar.read_bytes()
        return self._made[name]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def server() -> StubServer:
    return StubServer()


@pytest.fixture
def sensor() -> FakeSensor:
    return FakeSensor()


@pytest.fixture
def settings(tmp_path: Path, package: Maker) -> CameraSettings:
    return some_settings(tmp_path / "camera", package.keys)


def some_settings(folder: Path, keys: Path, **changes: Any) -> CameraSettings:
    told: dict[str, Any] = {
        "url": BASE,
        "controller_id": "cam-1",
        "token": "secret-of-cam-1",
        "folder": folder,
        "keys_file": keys,
        "stall_s": 0.3,
        "load_s": 5,
        "first_frames_s": 2,
        "silence_s": 0.3,
        "retry_s": 0.2,
    }
    return CameraSettings(**told | changes)


@pytest.fixture
def start(settings: CameraSettings, server: StubServer, sensor: FakeSensor) -> Iterator[Callable[..., Agent]]:
    """Starts agents on the same disk, one after the other; they have begun."""
    started: list[Agent] = []

    def make(disk: Disk | None = None, *, begin: bool = True, **changes: Any) -> Agent:
        for each in started:
            each.close()
        chosen = settings.model_copy(update=changes)
        started.append(Agent(chosen, sensor, disk=disk, transport=server.transport, chance=Random(1)))
        if begin:
            started[-1].begin()
        return started[-1]

    yield make
    for each in started:
        each.close()


@pytest.fixture
def agent(start: Callable[..., Agent]) -> Agent:
    return start()
