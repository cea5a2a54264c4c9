"""Routes of rollouts."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/fleet/rollouts", tags=["rollouts"])
