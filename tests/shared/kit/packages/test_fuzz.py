"""The short form of `make fuzz`: the same targets and changes, from a fixed seed."""

import random
import time
import tracemalloc

import pytest

from tests.fuzz.seeds import mutated
from tests.fuzz.targets import targets

INPUTS = 300


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("name", ["rpk", "package", "converted"])
def test_changed_files_are_read_or_refused_in_no_time_and_little_memory(name):
    target = next(each for each in targets() if each.name == name)
    for content in target.seeds:
        target.run(content)
    chance, slowest = random.Random(5), 0.0
    tracemalloc.start()
    try:
        for _ in range(INPUTS):
            content = mutated(chance.choice(target.seeds), chance)
            begun = time.monotonic()
            target.run(content)
            slowest = max(slowest, time.monotonic() - begun)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert slowest < 2
    assert most < 64 * 1024**2
