"""The demo's pipeline on a whole platform: train, distil, evaluate, while what runs it is killed."""

import pytest

from shared.contracts.jobs import JobState
from shared.contracts.pipelines import PipelineIn, PipelineState, StepState
from tests.e2e.conftest import until

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]


def a_pipeline(dataset, *, steps):
    """`steps` small steps for each of the two models."""
    recipe = {"samples": 8 * steps, "batch_size": 8, "checkpoint_every": 10, "evaluate_every": 100_000}
    parameters = {
        "train": [{"dataset": dataset, "split": "train"}],
        "validation": {"dataset": dataset, "split": "val"},
        "train_recipe": recipe,
        "distil_recipe": recipe,
        "compute": {"device": "cpu", "threads": 1},
        "evaluation": {"pictures": 2, "mask_ap": False},
        "pictures": 2,
        "quantize": False,  # whole quantizations are tested elsewhere, and take minutes
    }
    return PipelineIn(name="e2e", template="picosam2-imx500", parameters=parameters)


def step_of(platform, pipeline, name):
    return next(step for step in platform.client.pipelines.get(pipeline.id).steps if step.name == name)


def job_of(platform, pipeline, name):
    """The step's job, once there is one."""
    step = until(
        lambda: step_of(platform, pipeline, name),
        lambda found: found.job_id is not None,
        what=f"a job of {name}",
    )
    return platform.client.jobs.get(step.job_id)


def finished(platform, pipeline):
    return until(
        lambda: platform.client.pipelines.get(pipeline.id),
        lambda found: found.state.is_final,
        what="the pipeline's end",
        limit_s=900,
    )


def test_a_pipeline_comes_to_its_end_though_service_and_worker_are_killed(platform, dataset):
    pipeline = platform.client.pipelines.submit(a_pipeline(dataset, steps=50))
    first = job_of(platform, pipeline, "train")
    platform.until_training(first, step=5)
    platform.kill("jobs")  # what comes next is only in the database now
    platform.until_well()
    second = job_of(platform, pipeline, "distil")
    platform.until_training(second, step=25)
    platform.kill("worker")

    ended = finished(platform, pipeline)
    assert ended.state is PipelineState.SUCCEEDED, ended.error
    train, distil, evaluate = ended.steps
    assert [len(step.job_ids) for step in ended.steps] == [1] * 3, "a step's job is made once"
    assert platform.client.jobs.get(second.id).attempt == 2
    assert "resumed at step" in platform.client.jobs.logs(second.id)
    made = {job.id: job.parent.part for job in platform.client.jobs.list(parent=pipeline.id)}
    assert made == {step.job_id: step.name for step in ended.steps}

    assert platform.client.jobs.get(distil.job_id).spec["teacher"]["model"] == train.model
    assert [model["model"] for model in evaluate.result["models"]] == [distil.model, train.model]
    assert evaluate.result["miou_96"] == pytest.approx(distil.result["miou_96"], abs=0.02), "ONNX and torch agree"
    name, number = distil.model.split("/")
    lineage = platform.client.models.lineage(name, int(number))
    roles = {(edge.source, edge.role) for edge in lineage.edges}
    assert (f"version:{train.model}", "teacher") in roles
    assert (f"version:{distil.model}", "models.0") in roles


def test_a_cancelled_pipeline_goes_on_where_it_was(platform, dataset):
    pipeline = platform.client.pipelines.submit(a_pipeline(dataset, steps=40))
    job = job_of(platform, pipeline, "distil")
    platform.until_training(job, step=15)
    platform.client.pipelines.cancel(pipeline.id)
    stopped = finished(platform, pipeline)
    assert stopped.state is PipelineState.CANCELLED
    assert [step.state for step in stopped.steps] == [StepState.SUCCEEDED] + [StepState.CANCELLED] * 2
    assert platform.client.jobs.get(job.id).state is JobState.CANCELLED

    platform.client.pipelines.retry(pipeline.id)
    again = until(
        lambda: step_of(platform, pipeline, "distil"),
        lambda found: found.state is StepState.SUCCEEDED,
        what="the end of distil",
        log=lambda: platform.client.jobs.logs(job.id),
    )
    assert again.job_ids == [job.id], "the job goes on"
    assert "resumed at step" in platform.client.jobs.logs(job.id)
    assert step_of(platform, pipeline, "train").job_ids == stopped.steps[0].job_ids, "what had succeeded is kept"
    job_of(platform, pipeline, "evaluate")  # what follows is started
    platform.client.pipelines.cancel(pipeline.id)
    assert finished(platform, pipeline).state is PipelineState.CANCELLED
