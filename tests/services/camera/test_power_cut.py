"""The power goes at every change of the disk, and the disk is full at each: one whole package runs, and the truth is told."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from services.camera.agent import Agent
from services.camera.disk import Disk
from services.camera.settings import CameraSettings
from services.camera.slots import Slots
from shared.kit.packages.keys import read_trusted
from shared.kit.packages.verifying import verify
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import FakeSensor, Offer, StubServer
from tests.services.camera.power import CuttingDisk, FullDisk, PowerCut, leftovers
from tests.services.camera.test_agent import talk
from tests.services.camera.test_installing import a_statement

pytestmark = pytest.mark.slow

Begin = Callable[[StubServer, FakeSensor, Maker], Offer]


@dataclass(frozen=True)
class Story:
    """What ran before (releases, in order), what the server wants, and how that must end."""

    before: tuple[int, ...]
    begin: Begin
    end: str
    runs: str | None


def _upgrade(server: StubServer, _: FakeSensor, package: Maker) -> Offer:
    return server.offer(package(8), id="100")


def _bad_upgrade(server: StubServer, sensor: FakeSensor, package: Maker) -> Offer:
    sensor.faults["picosam2/8"] = "drift"
    return _upgrade(server, sensor, package)


def _forged(server: StubServer, _: FakeSensor, package: Maker) -> Offer:
    return server.offer(package(8).replace(b"# PicoSAM2", b"# PicoSAM3"), id="100")


def _third(server: StubServer, _: FakeSensor, package: Maker) -> Offer:
    return server.offer(package(9), id="100")


def _return(server: StubServer, _: FakeSensor, package: Maker) -> Offer:
    return server.offer(package(7), id="100", metadata=[a_statement(package.key, 8, 7)])


def _remove(server: StubServer, _: FakeSensor, __: Maker) -> Offer:
    return server.offer_nothing()


STORIES = {
    "first": Story((), _upgrade, "success", "picosam2/8"),
    "upgrade": Story((7,), _upgrade, "success", "picosam2/8"),
    "third": Story((7, 8), _third, "success", "picosam2/9"),
    "bad": Story((7,), _bad_upgrade, "failure", "picosam2/7"),
    "forged": Story((7,), _forged, "failure", "picosam2/7"),
    "return": Story((7, 8), _return, "success", "picosam2/7"),
    "remove": Story((7, 8), _remove, "success", None),
}


class World:
    """A camera as it was before the story, again and again."""

    def __init__(self, folder: Path, settings: CameraSettings, package: Maker, story: Story) -> None:
        self._folder, self._settings, self.package, self.story = folder, settings, package, story
        self._runs = 0
        self.reset()
        agent = self.agent()
        for release in story.before:
            self.server.offer(package(release), id=str(release))
            talk(agent)
        agent.close()
        self._template = self.folder
        self.reset()

    def reset(self) -> None:
        self._runs += 1
        self.folder = self._folder / f"run-{self._runs}"
        if self._runs > 1:
            shutil.copytree(self._template, self.folder) if self._template.exists() else None
        self.server, self.sensor = StubServer(), FakeSensor()

    def agent(self, disk: Disk | None = None) -> Agent:
        settings = self._settings.model_copy(update={"folder": self.folder})
        agent = Agent(settings, self.sensor, disk=disk, transport=self.server.transport, chance=Random(1))
        agent.begin()
        return agent

    def play(self, disk: Disk) -> tuple[Offer, Agent | None]:
        """The story on this disk. None: the power was cut."""
        offer = self.story.begin(self.server, self.sensor, self.package)
        agent = None
        try:
            agent = self.agent(disk)
            talk(agent, 3)
        except PowerCut:
            self.sensor.close()
            agent = None
        return offer, agent

    def check_runs(self, agent: Agent) -> None:
        """Exactly one package is current; it is whole, verified, and on the sensor."""
        current = agent.state.current
        assert self.sensor.running == agent.sensor.package == (current.package if current else None)
        if current is not None:
            folder = Slots(Disk(), self.folder).package(current)
            verified = verify(folder, read_trusted(self._settings.keys_file))
            assert f"{verified.manifest.line}/{verified.manifest.release}" == current.package
            assert verified.digest == current.digest
        if agent.state.good is not None:  # what it may be returned to is whole, too
            Slots(Disk(), self.folder).check(agent.state.good)

    def check_end(self, agent: Agent, offer: Offer) -> None:
        story, state = self.story, agent.state
        assert offer.end == story.end, offer.words
        assert agent.sensor.package == story.runs
        assert state.action is None
        assert state.reports == []
        assert leftovers(self.folder, state) == set()
        floor = max(story.before, default=0)
        assert state.floors.get("picosam2", 0) >= floor


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, settings: CameraSettings, package: Maker) -> World:
    return World(tmp_path, settings, package, STORIES[request.param])


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost without it is CuttingDisk's to decide."""
    monkeypatch.setattr("services.camera.disk.os.fsync", lambda _: None)


each_story = pytest.mark.parametrize("world", list(STORIES), indirect=True)


@each_story
@pytest.mark.timeout(600)
def test_whenever_the_power_goes_one_whole_package_runs_and_the_truth_is_told(world: World) -> None:
    undisturbed = CuttingDisk(None)
    offer, agent = world.play(undisturbed)
    assert agent is not None
    world.check_end(agent, offer)
    agent.close()
    for at in range(len(undisturbed.steps)):
        for forgets in (False, True):
            world.reset()
            disk = CuttingDisk(at, forgets=forgets)
            offer, dead = world.play(disk)
            assert dead is None
            if forgets and not disk.forgot:
                continue  # as before
            agent = world.agent()
            world.check_runs(agent)
            talk(agent, 3)
            world.check_runs(agent)
            world.check_end(agent, offer)
            agent.close()
            shutil.rmtree(world.folder)


@pytest.mark.parametrize("stays_full", [False, True])
@pytest.mark.parametrize("world", ["upgrade", "bad", "return"], indirect=True)
@pytest.mark.timeout(600)
def test_a_full_disk_is_told_and_the_old_package_goes_on(world: World, stays_full: bool) -> None:
    told = 0
    for at in range(1000):
        world.reset()
        disk = FullDisk(at, stays_full=stays_full)
        offer, agent = world.play(disk)
        assert agent is not None
        if not disk.hit:
            break
        world.check_runs(agent)
        assert offer.end in {"success", "failure"}
        if offer.end != world.story.end:
            told += 1
            assert "the disk is full" in offer.words
            assert agent.sensor.package == f"picosam2/{world.story.before[-1]}"
        disk.has_room = True
        agent.turn()
        running = agent.sensor.package
        agent.close()
        agent = world.agent()
        world.check_runs(agent)
        assert agent.sensor.package == running
        agent.close()
        shutil.rmtree(world.folder)
    assert told > 5 or world.story.end == "failure"
