"""Health and metrics."""


def test_the_process_answers_without_a_key(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_what_is_away_is_named_and_does_not_stop_the_service(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "components": {"database": "ok", "redis": "ok", "mlflow": "failed"}}


def test_without_the_database_the_service_is_not_ready(client, services, monkeypatch):
    def away(*_):
        raise OSError("gone, with a password in the message")

    monkeypatch.setattr("services.jobs.health.probes.begin_reading", away)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "failed")
    assert "password" not in answer.text


def test_without_redis_the_service_is_degraded(client, services, monkeypatch):
    monkeypatch.setattr(services.redis, "ping", lambda: (_ for _ in ()).throw(OSError("gone")))
    assert client.get("/readyz").json()["components"]["redis"] == "failed"


def test_metrics_need_a_key_and_count_requests(client, viewer):
    assert client.get("/metrics").status_code == 401
    client.get("/healthz")
    text = client.get("/metrics", headers=viewer).text
    assert 'picofleet_http_requests_total{method="GET",route="/healthz",status="200"}' in text


def test_a_worker_key_reads_no_metrics(client, worker):
    assert client.get("/metrics", headers=worker).status_code == 403
