"""The engine is killed between any two statements, and goes on as if nothing had been."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import event

from services.fleet.rollouts import engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Killed(BaseException):
    """Nothing catches it, as nothing survives a kill."""


class Fuse:
    """Kills before the n-th statement from now on, commits included; ``burnt`` says whether that came to pass."""

    def __init__(self, engine_, at):
        self.left, self.burnt, self._engine = at, False, engine_

    def __enter__(self):
        event.listen(self._engine, "before_cursor_execute", self._count)
        event.listen(self._engine, "commit", self._count)
        return self

    def __exit__(self, kind, exc, trace):
        event.remove(self._engine, "before_cursor_execute", self._count)
        event.remove(self._engine, "commit", self._count)
        return kind is Killed

    def _count(self, *_):
        self.left -= 1
        if self.left < 0:
            self.burnt = True
            raise Killed


def never_two(world):
    """No camera has two actions of a rollout that count, or two that are active."""
    actions = world.actions()
    places = Counter((each.rollout_id, each.camera_id) for each in actions if each.kind == "install" and each.phase)
    restores = Counter(each.restores_id for each in actions if each.kind == "restore")
    active = Counter(each.camera_id for each in actions if each.active)
    assert {*places.values(), *restores.values(), *active.values()} <= {1}


def killed_everywhere(world, make, play, expected):
    """Kill the tick before its n-th statement for every n, as long as ticks have so many; then the end must be the same."""
    # All of them on SQLite; on Postgres, where making a world takes seconds, every fourth.
    at, step, worst = 0, 4 if world.services.engine.dialect.name == "postgresql" else 1, False
    while not worst:
        rollout = make()
        worst = True
        for turn in range(8):
            over = world.shown(rollout).state.is_final
            with Fuse(world.services.engine, at) as fuse:
                engine.tick(world.services)
            worst = worst and not fuse.burnt
            never_two(world)
            world.tick()
            play(turn)
            if over:
                break
        assert expected(world, rollout), at
        at += step
    return at


@pytest.mark.slow
def test_a_rollout_that_is_killed_anywhere_ends_as_one_that_was_not(world):
    made = {}

    def make():
        made["package"] = world.package(f"a/{len(world.actions()) + 1}")
        return world.rollout(made["package"], phases=[{"count": 1}, {"percent": 100}])

    def finished(world, rollout):
        return world.state(rollout) == "finished" and world.good() == {made["package"].id: 4}

    world.cameras(4)
    statements = killed_everywhere(world, make, lambda _: world.succeed(), finished)
    assert statements > 40


@pytest.mark.slow
def test_a_return_that_is_killed_anywhere_brings_every_camera_home(world):
    good = world.package("good/1")
    world.cameras(3, package=good)

    def make():
        bad = world.package(f"bad/{len(world.actions()) + 1}")
        return world.rollout(bad, phases=[{"percent": 100, "failure_percent": 50}])

    def play(turn):
        busy = [each.camera_id for each in world.active()]
        if turn == 0:
            world.succeed(only=busy[:1])
            world.offer(only=busy[1:2])
            world.fail(only=busy[2:])
            for rollout in {each.rollout_id for each in world.active()}:
                world.do("rollback", rollout)
        elif turn == 1:
            world.cancelled()
        else:
            world.succeed()

    def at_home(world, rollout):
        homes = {world.camera(each.camera_id).current_package_id for each in world.actions(rollout)}
        return world.state(rollout) == "rolled_back" and homes == {good.id}

    assert killed_everywhere(world, make, play, at_home) > 30


CHILD = """
import os, sys, threading
from prometheus_client import CollectorRegistry
from sqlalchemy import event
from services.fleet.app import build_services
from services.fleet.rollouts import engine
from services.fleet.settings import FleetSettings

url, blobs, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
settings = FleetSettings(database_url=url, blob_url=blobs, tick_s=0.001)
services = build_services(settings, CollectorRegistry(), lambda _: None, threading.Event())
left = [at]

def count(*_):
    left[0] -= 1
    if left[0] < 0:
        os._exit(9)

event.listen(services.engine, "before_cursor_execute", count)
event.listen(services.engine, "commit", count)
engine.tick(services)
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("at", [5, 12, 20, 30, 45])
def test_a_process_that_dies_in_the_middle_loses_nothing(world, tmp_path, at):
    world.cameras(6)
    rollout = world.rollout(world.package(), phases=[{"count": 2}, {"percent": 100}])
    url, blobs = str(world.services.settings.database_url), str(tmp_path / "blobs")
    died = subprocess.run([sys.executable, "-c", CHILD, url, blobs, str(at)], check=False, timeout=60)
    assert died.returncode in {0, 9}
    never_two(world)
    assert world.run(rollout) == "finished"
    assert world.shown(rollout).counts == {"running": 6}


def test_a_database_that_is_away_for_a_while_is_waited_for(world, tmp_path):
    url = str(world.services.settings.database_url)
    if not url.startswith("sqlite"):
        pytest.skip("the file of a SQLite database is taken away")
    world.cameras(3)
    rollout = world.rollout(world.package())
    world.services.engine.dispose()
    file = url.removeprefix("sqlite:///")
    kept = tmp_path / "kept.db"
    shutil.move(file, kept)
    Path(file).mkdir()
    with pytest.raises(Exception, match="unable to open"):
        engine.tick(world.services)
    Path(file).rmdir()
    shutil.move(kept, file)
    assert world.run(rollout) == "finished"
