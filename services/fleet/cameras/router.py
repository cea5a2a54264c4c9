"""Routes of cameras, groups and provisioning tokens."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/fleet", tags=["cameras"])
