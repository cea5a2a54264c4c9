"""Messages after a commit: never before it, never instead of it, never in its way."""

import time

from redis import Redis

from services.jobs.app import create_app
from services.jobs.jobs import service, signals
from services.jobs.jobs.messenger import CHANNEL, Messenger
from shared.contracts.imports import ModelImportSpec
from shared.kit.celery_app import make_celery

SPEC = ModelImportSpec(blob=f"sha256:{'a' * 64}", format="onnx")


def test_a_rolled_back_job_is_not_dispatched(services, sent):
    with services.sessions() as session:
        service.enqueue(session, spec=SPEC, owner="ada")
    assert sent() == []


def test_a_released_savepoint_dispatches_nothing_yet(services, sent):
    with services.sessions.begin() as session:
        with session.begin_nested():
            job_id = service.enqueue(session, spec=SPEC, owner="ada").id
        assert sent() == []
    assert sent() == [job_id]


def test_what_a_rolled_back_session_wanted_is_forgotten_when_it_is_used_again(services, sent):
    with services.sessions() as session:
        service.enqueue(session, spec=SPEC, owner="ada")
        session.rollback()
        job_id = service.enqueue(session, spec=SPEC, owner="ada").id
        session.commit()
    assert sent() == [job_id]


def test_a_job_cancelled_in_the_transaction_that_queued_it_is_not_dispatched(services, sent):
    with services.sessions.begin() as session:
        service.cancel(session, service.enqueue(session, spec=SPEC, owner="ada").id)
    assert sent() == []


def test_readers_are_told_which_jobs_changed(services):
    with services.redis.pubsub() as listener:
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=5)
        with services.sessions.begin() as session:
            job_id = service.enqueue(session, spec=SPEC, owner="ada").id
        services.messenger.flush()
        assert listener.get_message(timeout=5)["data"].decode() == job_id


def test_signals_wake_the_loops_that_they_name(services):
    woken = []
    messenger = Messenger(services.celery, services.redis, woken.append)
    messenger.take(signals.Signals(loops={"models.registration"}))
    assert woken == ["jobs.messages", "models.registration"]


def test_submitting_neither_fails_nor_waits_without_redis(settings, serve, fleet, dataset):
    # A port that swallows connections: the worst kind of away, since connecting takes its full time-out.
    away = settings.model_copy(update={"redis_url": "redis://10.255.255.1:6379/0", "run_loops": True})
    served = serve(create_app(away))
    fleet.http.base_url = served.url
    began = time.monotonic()
    jobs = [fleet.submit() for _ in range(5)]
    assert time.monotonic() - began < 8  # each would wait for 2 s at least
    assert {fleet.get(job["id"])["state"] for job in jobs} == {"queued"}


def test_the_broker_counts_as_away_from_a_failure_until_a_success(new_redis):
    server = new_redis()
    server.start()
    messenger = Messenger(make_celery(server.url), Redis.from_url(server.url), lambda _: None)
    messenger.flush()
    assert not messenger.broker_away
    server.kill()
    messenger.take(signals.Signals(dispatched={"job": "training"}))
    messenger.flush()
    assert messenger.broker_away
    server.start()
    messenger.take(signals.Signals(dispatched={"job": "training"}))
    messenger.flush()
    assert not messenger.broker_away
    with Redis.from_url(server.url) as client:
        assert client.llen("training") == 1


def test_a_dead_idle_connection_does_not_cost_the_next_message(new_redis):
    server = new_redis()
    server.start()
    messenger = Messenger(make_celery(server.url), Redis.from_url(server.url), lambda _: None)
    messenger.take(signals.Signals(dispatched={"first": "training"}))
    messenger.flush()
    server.kill()
    server.start()
    messenger.take(signals.Signals(dispatched={"second": "training"}))
    messenger.flush()
    with Redis.from_url(server.url) as client:
        assert client.llen("training") == 1
