"""What a device tells of itself: configData."""

import json
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera
from services.fleet.ddi.errors import AttributesTooLarge
from services.fleet.polling.epochs import touch
from shared.contracts.ddi import ConfigData, ConfigMode

_LOCK: Final = select(Camera.attributes)


def tell(session: Session, camera: Camera, told: ConfigData, *, max_bytes: int) -> None:
    """Merge, replace or take away attributes; the device is asked for them no more. AttributesTooLarge."""
    # Two that merge at the same time must both be in the result.
    present = session.scalars(_LOCK.where(Camera.id == camera.id).with_for_update()).one()
    after = _changed(present, told)
    size = len(json.dumps(after, ensure_ascii=False).encode())
    if size > max_bytes:
        raise AttributesTooLarge(f"The attributes would have {size} bytes; at most {max_bytes} are kept.", max_bytes=max_bytes)
    camera.attributes = after
    if camera.attributes_wanted:
        camera.attributes_wanted = False
        touch(session, [camera.id])


def _changed(present: dict[str, str], told: ConfigData) -> dict[str, str]:
    match told.mode:
        case ConfigMode.MERGE:
            return present | told.data
        case ConfigMode.REPLACE:
            return dict(told.data)
        case ConfigMode.REMOVE:
            return {key: value for key, value in present.items() if key not in told.data}
