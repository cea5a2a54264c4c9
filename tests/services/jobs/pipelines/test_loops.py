"""The running loops: what happens to jobs leads to the next step at once, without anybody calling a tick."""

import pytest

from tests.conftest import wait_for
from tests.services.jobs.pipelines.conftest import a_step


@pytest.fixture
def settings(settings):
    # The loop's own interval is far away: only being woken can be the reason.
    return settings.model_copy(update={"run_loops": True, "sweep_s": 600})


def test_steps_follow_each_other_without_waiting_for_the_interval(pipelines, dataset):
    pipeline = pipelines.post(steps=[a_step("a"), a_step("b", after=["a"])]).json()["id"]
    for name in ("a", "b"):
        wait_for(lambda name=name: pipelines.step(pipeline, name)["job_id"], what=f"the job of {name}")
        pipelines.finish(pipelines.step(pipeline, name)["job_id"], tick=False)
    wait_for(lambda: pipelines.get(pipeline)["state"] == "succeeded", what="the end")
