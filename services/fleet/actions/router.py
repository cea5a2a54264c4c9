"""Routes of actions."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/fleet/actions", tags=["actions"])
