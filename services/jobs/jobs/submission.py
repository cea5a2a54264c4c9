"""From a user's submission to a queued job."""

from sqlalchemy.orm import Session

from services.jobs.jobs import service, sources
from services.jobs.jobs.models import Job
from shared.contracts.jobs import TrainingSubmission
from shared.contracts.training import TrainingSpec
from shared.contracts.worker import ModelGrant


def submit_training(session: Session, body: TrainingSubmission, *, owner: str, initial_model: ModelGrant | None) -> Job:
    """Queue a training job. Names of datasets are resolved now, so that a later dataset of the same name changes nothing.

    ``initial_model``: what ``body.initial_model`` means at this moment.
    """
    spec = TrainingSpec.model_validate(body.model_dump(exclude={"name", "tags"}))
    reads = sources.resolve(session, spec)
    return service.enqueue(
        session,
        spec=spec,
        owner=owner,
        name=body.name,
        tags=body.tags,
        reads=reads,
        models={"initial_model": initial_model} if initial_model else {},
    )
