"""Periodic work in threads."""

import threading
import time

import pytest

from shared.kit.loops import Loop, LoopRunner


@pytest.fixture
def ticks():
    return []


@pytest.fixture
def run():
    runners = []

    def start(*loops, services=None):
        runner = LoopRunner(loops, threading.Event())
        runners.append(runner)
        runner.start(services)
        return runner

    yield start
    for runner in runners:
        runner.stop()


def wait_until(is_so):
    give_up = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def loop(tick, every_s=3600.0, name="loop"):
    return Loop(name=name, every_s=lambda _: every_s, tick=tick)


def test_the_first_tick_runs_at_once_and_then_at_intervals(run, ticks):
    run(loop(ticks.append, every_s=0.01), services="services")
    wait_until(lambda: len(ticks) >= 3)
    assert set(ticks) == {"services"}


def test_a_tick_that_raises_does_not_end_the_loop(run, ticks):
    def tick(services):
        ticks.append(services)
        raise RuntimeError("no")

    run(loop(tick, every_s=0.01))
    wait_until(lambda: len(ticks) >= 3)


def test_a_woken_loop_runs_now_and_no_other_does(run, ticks):
    runner = run(loop(lambda _: ticks.append("a"), name="a"), loop(lambda _: ticks.append("b"), name="b"))
    wait_until(lambda: sorted(ticks) == ["a", "b"])
    runner.wake("a")
    runner.wake("nobody")
    wait_until(lambda: sorted(ticks) == ["a", "a", "b"])


def test_a_wake_during_a_tick_is_not_lost(run, ticks):
    inside, go_on = threading.Event(), threading.Event()

    def tick(_):
        ticks.append(1)
        inside.set()
        go_on.wait(5)

    runner = run(loop(tick))
    inside.wait(5)
    runner.wake("loop")
    go_on.set()
    wait_until(lambda: len(ticks) == 2)


def test_after_stop_nothing_ticks(run, ticks):
    runner = run(loop(ticks.append, every_s=0.005))
    wait_until(lambda: len(ticks) >= 2)
    runner.stop()
    seen = len(ticks)
    time.sleep(0.05)
    assert len(ticks) == seen


def test_a_listening_tick_leaves_when_the_runner_stops(run):
    stopping = threading.Event()
    runner = LoopRunner([loop(lambda _: stopping.wait(60) and None)], stopping)
    runner.start(None)
    started = time.monotonic()
    runner.stop()
    assert time.monotonic() - started < 20
