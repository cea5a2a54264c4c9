"""Windows of several requests in one run: everybody gets their own answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engine.batching import BatchingRunner
from tests.conftest import wait_for


class Recording:
    """A network whose logits are its windows' first channel; remembers how many windows each run had."""

    def __init__(self, *, takes_s=0.0, held=False):
        self.runs, self.alone, self.takes_s = [], [], takes_s
        self.at_once = self.most_at_once = 0
        self.go = threading.Event()
        if not held:
            self.go.set()
        self._lock = threading.Lock()

    def run(self, inputs, *, alone):
        with self._lock:
            self.runs.append(len(inputs))
            self.alone.append(alone)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.go.wait(20)
        time.sleep(self.takes_s)
        with self._lock:
            self.at_once -= 1
        if (inputs < 0).any():
            raise ValueError("negative")
        return inputs[:, 0].copy()


def batching(runner, *, max_batch=8, max_delay_s=0.0, lanes=1):
    return BatchingRunner(runner, max_batch=max_batch, max_delay_s=max_delay_s, lanes=lanes)


def windows(number, value):
    return np.full((number, 3, 4, 4), value, np.float32)


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=24),
    max_batch=st.integers(2, 16),
    lanes=st.integers(1, 3),
    delay_ms=st.sampled_from([0, 0, 2]),
)
def test_every_caller_gets_exactly_its_own_windows(sizes, max_batch, lanes, delay_ms):
    inner = Recording(takes_s=0.001)
    runner = batching(inner, max_batch=max_batch, max_delay_s=delay_ms / 1000, lanes=lanes)

    def ask(number):
        mine = np.arange(sizes[number], dtype=np.float32)[:, None, None, None] + windows(sizes[number], 100 * number)
        assert np.array_equal(runner.run(mine, alone=False), mine[:, 0])

    with ThreadPoolExecutor(len(sizes)) as pool:
        for asked in [pool.submit(ask, number) for number in range(len(sizes))]:
            asked.result(20)
    assert sum(inner.runs) == sum(sizes)
    assert all(run <= max_batch or run in sizes for run in inner.runs)
    assert inner.most_at_once <= lanes


def test_a_run_takes_what_gathered_while_the_one_before_was_at_work():
    inner = Recording(held=True)
    runner = batching(inner, max_batch=4)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(runner.run, windows(1, 0), alone=False)]
        wait_for(lambda: inner.runs == [1], what="the first run")
        asked += [pool.submit(runner.run, windows(1, n), alone=False) for n in range(1, 7)]
        wait_for(lambda: len(runner._waiting) == 6, what="the others")
        inner.go.set()
        for one in asked:
            one.result(20)
    assert inner.runs == [1, 4, 2]


def test_an_idle_server_delays_nobody_and_lets_a_lone_run_have_the_machine():
    inner = Recording()
    runner = batching(inner)
    assert [runner.run(windows(2, value), alone=True)[0, 0, 0] for value in (1, 2, 3)] == [1, 2, 3]
    assert inner.runs == [2, 2, 2]
    assert inner.alone == [True] * 3


def test_a_delay_gathers_those_who_come_within_it():
    inner = Recording()
    runner = batching(inner, max_batch=3, max_delay_s=10)
    with ThreadPoolExecutor(3) as pool:
        for asked in [pool.submit(runner.run, windows(1, n), alone=False) for n in range(3)]:
            asked.result(5)  # a full batch waits no longer
    assert inner.runs == [3]


def test_an_error_reaches_all_in_the_run_and_nobody_else():
    inner = Recording(held=True)
    runner = batching(inner, max_batch=3)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(runner.run, windows(1, 0), alone=False)
        wait_for(lambda: inner.runs == [1], what="the first run")
        asked = []
        for value in (1, -1, 1, 5):
            asked.append(pool.submit(runner.run, windows(1, value), alone=False))
            wait_for(lambda: len(runner._waiting) == len(asked), what="the queue")
        inner.go.set()
        assert first.result(20) is not None
        for one in asked[:3]:
            with pytest.raises(ValueError, match="negative"):
                one.result(20)
        assert asked[3].result(20)[0, 0, 0] == 5
    assert runner.run(windows(1, 7), alone=False)[0, 0, 0] == 7


def test_windows_of_another_shape_run_apart():
    inner = Recording(held=True)
    runner = batching(inner)
    strange = np.full((1, 3, 8, 8), 2, np.float32)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(runner.run, windows(1, 0), alone=False)
        wait_for(lambda: inner.runs == [1], what="the first run")
        asked = [pool.submit(runner.run, each, alone=False) for each in (windows(1, 1), strange, windows(1, 3))]
        wait_for(lambda: len(runner._waiting) == 3, what="the queue")
        inner.go.set()
        assert [one.result(20).shape for one in (first, *asked)] == [(1, 4, 4), (1, 4, 4), (1, 8, 8), (1, 4, 4)]
