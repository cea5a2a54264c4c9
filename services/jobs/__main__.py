"""``python -m services.jobs``: migrate the database, then serve. ``python -m services.jobs migrate`` stops after the first.

Exit code 2: the settings are wrong.
"""

import sys
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.jobs.app import create_app
from services.jobs.migrate import upgrade
from services.jobs.settings import JobsSettings
from shared.kit.logging import configure_logging

log = structlog.get_logger(__name__)

_GRACE_S: Final = 5


class _Server(uvicorn.Server):
    """Tells streams that the end has come: uvicorn would wait for them, and they for it."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._state = app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM and SIGINT."""
        services = getattr(self._state, "services", None)
        if services is not None:
            services.stopping.set()
        super().handle_exit(sig, frame)


def main(arguments: list[str]) -> int:
    """Returns the process's exit code."""
    try:
        settings = JobsSettings()
    except (ValidationError, SettingsError) as exc:
        sys.stderr.write(f"The settings PICOFLEET_JOBS_* are wrong:\n{exc}\n")
        return 2
    configure_logging(json=settings.json_logs, level=settings.log_level)
    upgrade(settings.database_url)
    if arguments != ["migrate"]:
        serve(settings)
    return 0


def serve(settings: JobsSettings) -> None:
    """Answer until SIGTERM or SIGINT."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    log.info("service.start", host=settings.host, port=settings.port)
    _Server(app, config).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
