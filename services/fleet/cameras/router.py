"""Routes of cameras, groups and provisioning tokens."""

from fastapi import APIRouter

from services.fleet.cameras.cameras_router import router as cameras
from services.fleet.cameras.groups_router import router as groups
from services.fleet.cameras.tokens_router import router as tokens

router = APIRouter(prefix="/v1/fleet", tags=["cameras"])
for _part in (cameras, groups, tokens):
    router.include_router(_part)
