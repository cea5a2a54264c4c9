"""``python -m services.jobs``: migrate the database, then serve. ``python -m services.jobs migrate`` stops after the first.

Exit code 2: the settings are wrong.
"""

import sys
from typing import Final

import structlog
import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from services.jobs.app import create_app
from services.jobs.migrate import upgrade
from services.jobs.settings import JobsSettings
from shared.kit.logging import configure_logging

log = structlog.get_logger(__name__)

_GRACE_S: Final = 5


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
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    log.info("service.start", host=settings.host, port=settings.port)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
