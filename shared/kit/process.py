"""A service as a process: read the settings, migrate the database, serve until told to stop."""

import sys
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI
from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.kit.logging import configure_logging
from shared.kit.settings import ServiceSettings

log = structlog.get_logger(__name__)

_GRACE_S: Final = 5

S = TypeVar("S", bound=ServiceSettings)


def main(
    settings_type: type[S], create_app: Callable[[S], FastAPI], upgrade: Callable[[str], None], arguments: Sequence[str]
) -> int:
    """The process's exit code; 2 if the settings are wrong. The argument ``migrate`` alone ends after the migration."""
    try:
        settings = settings_type()
    except (ValidationError, SettingsError) as exc:
        sys.stderr.write(f"The settings {settings_type.model_config['env_prefix']}* are wrong:\n{exc}\n")
        return 2
    configure_logging(json=settings.json_logs, level=settings.log_level)
    upgrade(settings.database_url)
    if list(arguments) != ["migrate"]:
        _serve(create_app(settings), settings)
    return 0


def _serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Answer until SIGTERM or SIGINT."""
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
    uvicorn.Server(config).run()
