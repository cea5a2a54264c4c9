"""How a camera fares."""

from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera
from services.fleet.rollouts.health import judge
from shared.contracts.cameras import Telemetry
from shared.kit.database import db_now


def keep(session: Session, camera: Camera, telemetry: Telemetry) -> None:
    """The newest is kept, with the time at which it came: the camera's own clock may be wrong. Its health follows."""
    received = {"received_at": db_now(session).isoformat()}
    camera.telemetry = telemetry.model_dump(mode="json") | received
    judge(session, camera, telemetry)
