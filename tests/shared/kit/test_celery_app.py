"""Messages as they lie in a real Redis."""

import base64
import json
import time

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from shared.kit.celery_app import TASK, make_celery, send_job


@pytest.fixture
def celery(redis_url):
    app = make_celery(redis_url)
    yield app
    app.close()


def test_a_message_is_the_job_id_in_the_queue_of_its_kind(celery, redis_url):
    send_job(celery, kind="training", job_id="j1")
    with Redis.from_url(redis_url) as redis:
        assert redis.llen("training") == 1
        message = json.loads(redis.lindex("training", 0))
    assert message["headers"]["task"] == TASK
    assert message["content-type"] == "application/json"
    assert json.loads(base64.b64decode(message["body"]))[0] == ["j1"]


def test_a_broker_that_is_away_is_told_at_once(free_port_number):
    app = make_celery(f"redis://127.0.0.1:{free_port_number}/0")
    started = time.monotonic()
    with pytest.raises(OperationalError):
        send_job(app, kind="training", job_id="j1")
    assert time.monotonic() - started < 5
    app.close()


def test_sending_works_again_after_the_broker_was_away(new_redis):
    server = new_redis()
    server.start()
    app = make_celery(server.url)
    send_job(app, kind="training", job_id="j1")
    server.kill()
    with pytest.raises(OperationalError):
        send_job(app, kind="training", job_id="j2")
    server.start()
    send_job(app, kind="training", job_id="j3")
    with Redis.from_url(server.url) as redis:
        assert redis.llen("training") == 1
    app.close()


def test_results_are_off_and_only_json_is_read(celery):
    assert celery.conf.task_ignore_result
    assert celery.conf.accept_content == ["json"]
    assert not celery.conf.task_acks_late
    assert celery.conf.worker_prefetch_multiplier == 1
