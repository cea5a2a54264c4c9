"""`python -m services.camera`: the agent, until it is told to stop."""

import signal
import sys
import threading
from types import FrameType
from typing import Final

from pydantic import ValidationError

from services.camera.agent import Agent
from services.camera.drivers import driver_for
from services.camera.errors import CameraError, RestartNeeded
from services.camera.settings import CameraSettings
from shared.kit.logging import configure_logging, get_logger

log = get_logger(__name__)

WRONG: Final = 2
"""Exit code: it was told something that cannot be, and starting anew would not help."""
AGAIN: Final = 75
"""Exit code: the sensor hangs, and a new process may help (EX_TEMPFAIL)."""


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    try:
        settings = CameraSettings()
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            name = "_".join(["PICOFLEET_CAMERA", *(str(part).upper() for part in error["loc"])])
            sys.stderr.write(f"{name}: {error['msg']}\n")
        return WRONG
    configure_logging(json=settings.json_logs, level=settings.log_level)
    return run(settings)


def run(settings: CameraSettings) -> int:
    """The agent of these settings; logging is set up. The exit code."""
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    log.info("agent.starts", driver=settings.driver, controller_id=settings.controller_id, url=settings.url)
    try:
        Agent(settings, driver_for(settings)).run(stopping)
    except RestartNeeded as exc:
        log.error("agent.restarts", reason=str(exc))
        return AGAIN
    except CameraError as exc:
        log.error("agent.stops", reason=str(exc))
        return WRONG
    log.info("agent.stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
