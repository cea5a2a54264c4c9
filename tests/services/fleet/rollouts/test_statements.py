"""Returns to an older release of the same line: they need a signature of the jobs service."""

import pytest
from sqlalchemy import select

from services.fleet.packages.models import Statement
from shared.client.errors import NotReachable
from shared.contracts.packaging import SignedReturnOut


class JobsService:
    """Signs returns, or is away; what the factory of clients gives."""

    def __init__(self):
        self.away, self.asked = False, []

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def packages(self):
        return self

    def sign_return(self, line, body):
        if self.away:
            raise NotReachable("nobody answers under http://jobs:8001")
        self.asked.append((line, body.from_release, body.to_release))
        return SignedReturnOut(statement="what is said", signature="who says it")


@pytest.fixture
def jobs_service(alone):
    made = JobsService()
    object.__setattr__(alone, "connect", made)
    return made


@pytest.fixture
def rolling_back(world):
    """A rollout of picosam2/3 to cameras that have picosam2/2, when it is to be rolled back."""
    world.cameras(3, package=world.package("picosam2/2"))
    rollout = world.rollout(world.package("picosam2/3"))
    world.run(rollout)
    world.do("rollback", rollout)
    return rollout


def test_one_signature_serves_all_cameras(world, jobs_service, rolling_back):
    world.tick()
    assert jobs_service.asked == [("picosam2", 3, 2)]
    assert len(world.active()) == 3
    with world.services.sessions() as session:
        (kept,) = session.scalars(select(Statement)).all()
    assert kept.envelope == {"statement": "what is said", "signature": "who says it"}
    assert world.run(rolling_back) == "rolled_back"
    assert jobs_service.asked == [("picosam2", 3, 2)]


def test_while_the_jobs_service_is_away_restores_wait_and_the_rollout_says_so(world, jobs_service, rolling_back):
    jobs_service.away = True
    world.tick(3)
    assert not world.active()
    shown = world.shown(rolling_back)
    assert (shown.state, shown.restores) == ("rolling_back", {"pending": 3})
    waiting = "waits for the jobs service to sign the return of picosam2 from 3 to 2: nobody answers under http://jobs:8001"
    assert shown.reason == f"rolled back by someone; {waiting}"
    jobs_service.away = False
    world.tick()
    assert world.shown(rolling_back).reason == "rolled back by someone"
    assert world.run(rolling_back) == "rolled_back"


def test_a_service_that_is_really_away_delays_them_too(world, rolling_back):
    world.tick()
    assert "waits for the jobs service" in world.shown(rolling_back).reason
    assert world.states(rolling_back) == {"restoring": 3}


def test_returns_that_nobody_signs_are_given_up_at_the_deadline(world, jobs_service, rolling_back):
    jobs_service.away = True
    world.tick()
    world.later(8 * 86_400)
    world.tick()
    shown = world.shown(rolling_back)
    assert (shown.state, shown.restores) == ("rolled_back", {"expired": 3})
    assert "3 cameras did not return" in shown.reason


def test_another_line_needs_no_signature(world, jobs_service):
    world.cameras(1, package=world.package("other/9"))
    rollout = world.rollout(world.package("picosam2/3"))
    world.run(rollout)
    world.do("rollback", rollout)
    assert world.run(rollout) == "rolled_back"
    assert jobs_service.asked == []
