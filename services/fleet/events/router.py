"""Routes of events."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/fleet", tags=["events"])
