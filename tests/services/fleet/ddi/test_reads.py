"""Polls that share a statement: each sees what was committed before it came, and its own device only."""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from services.fleet.cameras.models import Camera
from services.fleet.ddi.reads import MOST, Found, PollReads
from services.fleet.polling.memory import PollMemory
from services.fleet.runtime import Services
from tests.services.fleet.ddi.conftest import Device, World


class Statements:
    """Counts those that read cameras, and holds their answers up."""

    def __init__(self) -> None:
        self.count, self.hold = 0, True
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()

    def __call__(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        del connection, cursor
        if "FROM cameras" in statement and self.hold:
            self.count += 1
            self.begun.set()
            assert self.go_on.wait(20)


@pytest.fixture
def statements(services: Services) -> Iterator[Statements]:
    counted = Statements()
    event.listen(services.engine, "after_cursor_execute", counted)
    yield counted
    event.remove(services.engine, "after_cursor_execute", counted)


@pytest.fixture
def reads(services: Services) -> PollReads:
    """On a loop of the test's own."""
    return PollReads(services.engine, services.polls)


def read_all(reads: PollReads, controller_ids: Sequence[str]) -> list[Found]:
    async def run() -> list[Found]:
        return await asyncio.gather(*map(reads.read, controller_ids))

    return asyncio.run(run())


def test_each_gets_its_own_device_and_nobody_a_strangers(world: World, reads: PollReads) -> None:
    cameras = {name: world.device(name).camera_id for name in ("a", "b", "c")}
    found = read_all(reads, ["a", "unknown", "c", "b", "a"])
    assert [each.row and each.row.id for each in found] == [cameras["a"], None, cameras["c"], cameras["b"], cameras["a"]]


def test_polls_of_the_same_moment_share_a_statement(reads: PollReads, statements: Statements) -> None:
    names = [f"camera-{number}" for number in range(MOST)]
    read_all(reads, names)
    assert statements.count == 1
    read_all(reads, [*names, "one-more"])
    assert statements.count == 3


def test_a_poll_that_comes_while_a_statement_is_under_way_sees_what_was_committed_by_then(
    services: Services, device: Device, reads: PollReads, statements: Statements
) -> None:
    def want_attributes() -> None:
        with services.sessions.begin() as session:
            session.get_one(Camera, device.camera_id).attributes_wanted = True

    async def run() -> list[Found]:
        statements.go_on.clear()
        early = asyncio.create_task(reads.read("cam-1"))
        assert await asyncio.to_thread(statements.begun.wait, 20)
        statements.hold = False
        await asyncio.to_thread(want_attributes)
        late = asyncio.create_task(reads.read("cam-1"))
        await asyncio.sleep(0)
        statements.go_on.set()
        return await asyncio.gather(early, late)

    assert [found.row and found.row.attributes_wanted for found in asyncio.run(run())] == [False, True]


def test_the_generations_are_those_of_before_the_reading(device: Device, services: Services, statements: Statements) -> None:
    polls = PollMemory()
    reads = PollReads(services.engine, polls)
    epochs = [0] * len(polls.generations())
    polls.look(epochs)
    before = polls.generations()

    async def run() -> Found:
        statements.go_on.clear()
        reading = asyncio.create_task(reads.read(device.path))
        assert await asyncio.to_thread(statements.begun.wait, 20)
        polls.look([1, *epochs[1:]])
        statements.go_on.set()
        return await reading

    assert asyncio.run(run()).generations == before != polls.generations()


def test_one_that_gives_up_takes_the_answer_from_nobody(device: Device, reads: PollReads, statements: Statements) -> None:
    async def run() -> Found:
        statements.go_on.clear()
        impatient, patient = (asyncio.create_task(reads.read("cam-1")) for _ in range(2))
        assert await asyncio.to_thread(statements.begun.wait, 20)
        impatient.cancel()
        await asyncio.sleep(0)
        statements.go_on.set()
        return await patient

    found = asyncio.run(run())
    assert found.row is not None
    assert found.row.id == device.camera_id


def test_a_failure_is_told_to_all_that_wait_and_the_next_are_answered(
    device: Device, reads: PollReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(asked: Callable[[], Any]) -> list[Any]:
        return await asyncio.gather(*(asked() for _ in range(2)), return_exceptions=True)

    def fail(*_: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("gone"))

    with monkeypatch.context() as patched:
        patched.setattr(reads, "_rows", fail)
        failed = asyncio.run(run(lambda: reads.read("cam-1")))
    assert [type(each) for each in failed] == [OperationalError, OperationalError]
    (found,) = read_all(reads, ["cam-1"])
    assert found.row is not None
    assert found.row.id == device.camera_id
