"""Routes of hawkBit's management API: the part of it that its clients' own test suites use (docs/stock-clients.md)."""

from fastapi import APIRouter

from services.fleet.hawkbit.configs.router import router as configs
from services.fleet.hawkbit.errors import HawkbitRoute, NotSupported
from services.fleet.hawkbit.sets.router import router as sets
from services.fleet.hawkbit.software.router import router as software
from services.fleet.hawkbit.targets.router import router as targets
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/rest/v1", tags=["hawkbit"], route_class=HawkbitRoute, responses=problem_responses(NotSupported))
for _part in (configs, targets, software, sets):
    router.include_router(_part)
