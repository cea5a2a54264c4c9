"""Routes of teachers."""

from fastapi import APIRouter

from services.jobs.runtime import ServicesDep
from services.jobs.teachers import service
from shared.contracts.distillation import TeacherOut
from shared.contracts.keys import Scope
from shared.kit.auth import requires

router = APIRouter(prefix="/v1/teachers", tags=["teachers"])


@router.get("", response_model=list[TeacherOut], dependencies=[requires(Scope.VIEWER)])
def list_all(services: ServicesDep) -> list[TeacherOut]:
    """Published checkpoints, where they come from, and whether this platform has them: a blob of their digest."""
    return service.list_all(services.blobs)
