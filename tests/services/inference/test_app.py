"""What holds for all routes of the service, whoever adds one."""

import subprocess
import sys


def test_the_process_answers_without_a_key_and_is_ready_with_its_database(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok", "components": {"database": "ok", "deployments": "ok"}}


def test_metrics_need_a_key_that_the_jobs_service_knows(client, viewer):
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer pf_" + "x" * 43}).status_code == 401
    assert "picofleet_inference_stage_seconds" in client.get("/metrics", headers=viewer).text


def test_the_service_imports_no_torch():
    heavy = "{'torch', 'mlflow', 'matplotlib', 'scipy'}"
    script = f"import sys, services.inference.app; sys.exit(sorted({heavy} & set(sys.modules)) or 0)"
    subprocess.run([sys.executable, "-c", script], check=True)
