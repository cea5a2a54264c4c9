"""A small world for the engine: packages, cameras, rollouts, and devices that are played by direct moves."""

import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, insert, select, update

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import move_all
from services.fleet.app import build_services
from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.packages.models import Package
from services.fleet.rollouts import engine, service, views
from services.fleet.rollouts.models import Rollout, RolloutPhase
from services.fleet.settings import FleetSettings
from shared.contracts.base import new_id
from shared.contracts.keys import Scope
from shared.contracts.rollouts import ActionKind, ActionState, RolloutIn
from shared.kit.auth import Actor
from shared.kit.database import db_now

ACTOR = Actor(key_id="a-key", name="someone", scope=Scope.OPERATOR)
AT_ONCE = {"soak_s": 0, "success_percent": 100}


class World:
    """What the tests of the engine do, each in a transaction of its own."""

    def __init__(self, services):
        self.services = services

    def package(self, ref="picosam2/1", *, kind="model"):
        name, version = ref.split("/")
        release = int(version) if kind == "model" else None
        package = Package(kind=kind, name=name, version=version, release=release, imported_by="someone")
        with self.services.sessions.begin() as session:
            session.add(package)
        return package

    def cameras(self, count, *, labels=None, package=None):
        labels = labels or {}
        ids = [new_id() for _ in range(count)]
        common = {"format": "package", "labels": labels, "attributes": {}, "registered_by": "someone"}
        good = {"current_package_id": package.id, "last_good_package_id": package.id} if package else {}
        rows = [{"id": each, "controller_id": f"cam-{each}"} | common | good for each in ids]
        with self.services.sessions.begin() as session:
            session.execute(insert(Camera), rows)
            for key, value in labels.items():
                session.execute(insert(CameraLabel), [{"camera_id": each, "key": key, "value": value} for each in ids])
        return ids

    def rollout(self, package, *, phases=({"percent": 100},), **spec):
        """A rollout that is started; phases soak not at all unless they say so."""
        phases = [AT_ONCE | phase for phase in phases]
        where = {} if spec.keys() & {"cameras", "group"} else {"selector": ""}
        spec = {"name": "test", "start": True, "rate": {"per_minute": 1_000_000}} | where | spec
        body = RolloutIn.model_validate({"package": package.ref, "phases": phases} | spec)
        with self.services.sessions.begin() as session:
            return service.make(session, body, actor=ACTOR).id

    def do(self, deed, rollout_id, **arguments):
        with self.services.sessions.begin() as session:
            extra = {} if deed == "start" else {"reason": ""}
            getattr(service, deed)(session, rollout_id, actor=ACTOR, **extra, **arguments)

    def tick(self, times=1):
        for _ in range(times):
            time.sleep(0.002)  # milliseconds are all that SQLite's clock has
            engine.tick(self.services)

    def shown(self, rollout_id):
        with self.services.sessions() as session:
            return views.one(session, service.get(session, rollout_id))

    def state(self, rollout_id):
        return self.shown(rollout_id).state.value

    def phases(self, rollout_id):
        return [phase.state.value for phase in self.shown(rollout_id).phases]

    def actions(self, rollout_id=None, **wanted):
        query = select(Action).filter_by(**wanted).order_by(Action.id)
        with self.services.sessions() as session:
            return session.scalars(query.where(Action.rollout_id == rollout_id) if rollout_id else query).all()

    def states(self, rollout_id, kind=ActionKind.INSTALL):
        return Counter(action.state for action in self.actions(rollout_id, kind=kind.value))

    def camera(self, camera_id):
        with self.services.sessions() as session:
            return session.get(Camera, camera_id)

    def good(self):
        """How many cameras have which last good package."""
        with self.services.sessions() as session:
            rows = session.execute(select(Camera.last_good_package_id, func.count()).group_by(Camera.last_good_package_id))
            return dict(rows.all())

    def active(self):
        return self.actions(active=True)

    def answer(self, *states, only=None, message=""):
        """Every device that was let in (or those in ``only``) reports these states; how many did."""
        mine = [action for action in self.active() if only is None or action.camera_id in only]
        with self.services.sessions.begin() as session:
            for state in states:
                move_all(session, [action.id for action in mine], ActionState(state), message=message)
        return len(mine)

    def succeed(self, only=None):
        return self.answer("offered", "running", only=only)

    def fail(self, only=None):
        return self.answer("offered", "failed", only=only)

    def offer(self, only=None):
        return self.answer("offered", only=only)

    def cancelled(self):
        """Devices that are asked to stop say that they did."""
        with self.services.sessions.begin() as session:
            asked = select(Action.id).where(Action.active, Action.cancel_requested_at.is_not(None))
            return len(move_all(session, session.scalars(asked).all(), ActionState.CANCELLED))

    def run(self, rollout_id, *, ticks=20, play=None):
        """Tick and let devices answer until the rollout is over."""
        for _ in range(ticks):
            self.tick()
            if self.shown(rollout_id).state.is_final:
                break
            (play or self.succeed)()
        return self.state(rollout_id)

    def later(self, seconds):
        """Let this time pass for all that has a deadline or soaks."""
        earlier = timedelta(seconds=seconds)
        with self.services.sessions.begin() as session:
            for table, names in SHIFTED.items():
                for row in session.scalars(select(table)):
                    for name in names:
                        if getattr(row, name) is not None:
                            setattr(row, name, getattr(row, name) - earlier)

    def now(self):
        with self.services.sessions() as session:
            return db_now(session)

    def history(self, action_id):
        with self.services.sessions() as session:
            rows = session.scalars(select(ActionHistory).where(ActionHistory.action_id == action_id).order_by(ActionHistory.id))
            return [(row.state, row.message) for row in rows]

    def change(self, table, key, **values):
        with self.services.sessions.begin() as session:
            session.execute(update(table).where(table.id == key).values(values))


SHIFTED = {
    Action: ("created_at", "released_at", "deadline_at", "cancel_requested_at", "succeeded_at"),
    RolloutPhase: ("started_at", "soaking_since", "ended_at"),
    Rollout: (),
}


@pytest.fixture
def alone(tmp_path, database_url):
    """The service's clients without its server; the jobs service is away."""
    settings = FleetSettings(
        database_url=database_url, jobs_url="http://127.0.0.1:9", blob_url=str(tmp_path / "blobs"), tick_s=0.001
    )
    made = build_services(settings, CollectorRegistry(), lambda _: None, threading.Event())
    yield made
    made.engine.dispose()


@pytest.fixture
def world(alone):
    return World(alone)
