"""Routes of hawkBit's management API."""

from fastapi import APIRouter

router = APIRouter(prefix="/rest/v1", tags=["hawkbit"])
