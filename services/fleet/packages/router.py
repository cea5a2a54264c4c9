"""Routes of packages that can be rolled out."""

from fastapi import APIRouter

router = APIRouter(prefix="/v1/fleet/packages", tags=["packages"])
