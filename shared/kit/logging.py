"""Structured logs: one JSON object per line in production, colours on a terminal; ids bound once per request."""

import logging
import sys
from typing import Any, Final

import structlog
from structlog.typing import Processor


def configure_logging(*, json: bool, level: str = "INFO") -> None:
    """Send structlog's events and the standard library's records to standard error in one form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(json)))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for noisy in ("httpx", "httpcore", "urllib3", "uvicorn.access", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


# Local variables may hold secrets: they are never logged.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))


def _rendering(json: bool) -> list[Processor]:
    strip: Processor = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if json:
        return [strip, _TRACEBACKS, structlog.processors.JSONRenderer(default=str)]
    return [strip, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]


def get_logger(name: str) -> Any:
    """A logger for ``name``; events are constants: ``log.warning("job.lost", job_id=...)``."""
    return structlog.get_logger(name)
