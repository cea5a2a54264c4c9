"""Keys in files, as a deployment hands them over."""

import stat
import threading

import pytest
from sqlalchemy import select

from services.jobs.keys.files import UnusableKeyFile, ensure_key, read_or_make
from services.jobs.keys.models import ApiKey
from shared.contracts.keys import Scope
from shared.kit.auth import is_secret, new_secret


def ensure(services, path, name="admin", scope=Scope.ADMIN):
    with services.sessions.begin() as session:
        ensure_key(session, path, name=name, scope=scope)
    return services


def keys(services):
    with services.sessions() as session:
        return session.scalars(select(ApiKey).order_by(ApiKey.id)).all()


def test_the_file_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "new" / "admin.key"
    secret = read_or_make(path)
    assert is_secret(secret)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_or_make(path) == secret


def test_the_key_works_after_the_first_start_and_after_the_second(app, services, tmp_path):
    for _ in range(2):
        ensure(services, tmp_path / "admin.key")
    actor = app.state.authenticate((tmp_path / "admin.key").read_text().strip())
    assert (actor.name, actor.scope) == ("admin", Scope.ADMIN)
    assert len(keys(services)) == 1


def test_a_revoked_key_stays_revoked(app, services, tmp_path):
    ensure(services, tmp_path / "worker.key", "worker", Scope.WORKER)
    with services.sessions.begin() as session:
        key = session.scalars(select(ApiKey)).one()
        key.revoked_at = key.created_at
    ensure(services, tmp_path / "worker.key", "worker", Scope.WORKER)
    assert app.state.authenticate((tmp_path / "worker.key").read_text().strip()) is None


def test_a_key_whose_file_was_lost_is_replaced(services, tmp_path):
    ensure(services, tmp_path / "a.key")
    ensure(services, tmp_path / "b.key")
    old, new = keys(services)
    assert old.revoked_at is not None
    assert (new.name, new.revoked_at) == ("admin", None)


def test_a_key_that_was_handed_over_is_taken(app, services, tmp_path):
    secret = new_secret()
    (tmp_path / "given").write_text(secret + "\n")
    ensure(services, tmp_path / "given")
    assert app.state.authenticate(secret) is not None


@pytest.mark.parametrize("content", ["", "password", "pf_short", "pf_" + "ä" * 43])
def test_a_file_with_something_else_stops_the_start(tmp_path, content):
    (tmp_path / "key").write_text(content)
    with pytest.raises((UnusableKeyFile, UnicodeDecodeError)):
        read_or_make(tmp_path / "key")


def test_processes_that_start_together_read_the_same_key(tmp_path):
    found, barrier = [], threading.Barrier(8)

    def start():
        barrier.wait()
        found.append(read_or_make(tmp_path / "key"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
