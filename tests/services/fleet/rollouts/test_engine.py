"""Rollouts from beginning to end, with devices that are played by direct moves."""

from collections import Counter

import pytest


def test_a_rollout_brings_the_package_to_every_camera_phase_by_phase(world):
    package = world.package()
    world.cameras(20)
    rollout = world.rollout(package, phases=[{"percent": 5}, {"percent": 25}, {"percent": 100}])
    seen = []
    for _ in range(12):
        world.tick()
        seen.append(world.succeed())
    assert [count for count in seen if count] == [1, 4, 15]
    shown = world.shown(rollout)
    assert (shown.state, shown.reason) == ("finished", "20 of 20 cameras run the package")
    assert shown.counts == {"running": 20}
    assert world.good() == {package.id: 20}


def test_a_tick_with_nothing_changed_does_nothing(world):
    package = world.package()
    world.cameras(10)
    rollout = world.rollout(package, phases=[{"percent": 50}, {"percent": 100}])
    world.tick(3)
    before = (world.shown(rollout), [(each.id, each.state, each.active) for each in world.actions()])
    world.tick(5)
    assert (world.shown(rollout), [(each.id, each.state, each.active) for each in world.actions()]) == before
