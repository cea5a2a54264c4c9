"""Routes of the device API."""

from fastapi import APIRouter

router = APIRouter(prefix="/{tenant}/controller/v1", tags=["devices"])
