"""Routes of prepared window shards, for workers."""

from typing import Annotated

from fastapi import APIRouter, Path

from services.jobs.datasets.errors import DatasetNotFound
from services.jobs.runtime import ServicesDep
from services.jobs.shards import service
from services.jobs.shards.errors import ShardsIncomplete, ShardsNotFound
from services.jobs.shards.models import ShardSetRow
from shared.contracts.keys import Scope
from shared.contracts.worker import ShardSet
from shared.kit.auth import requires
from shared.kit.database import SessionDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/v1/worker/shards", tags=["worker"], dependencies=[requires(Scope.WORKER)])

ShardKey = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


@router.put("/{key}", response_model=ShardSet, responses=problem_responses(DatasetNotFound, ShardsIncomplete))
def offer(key: ShardKey, body: ShardSet, session: SessionDep, services: ServicesDep) -> ShardSetRow:
    """Offer a prepared set to all workers. The answer is the set that holds: the first writer's."""
    return service.offer(session, services.blobs, key, body)


@router.get("/{key}", response_model=ShardSet, responses=problem_responses(ShardsNotFound))
def read(key: ShardKey, session: SessionDep, services: ServicesDep) -> ShardSetRow:
    """The set of this key, if all of its files are there."""
    return service.find(session, services.blobs, key)
