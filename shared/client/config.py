"""Which service the command line speaks to, and with which key."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.client.errors import ClientError, NotReachable
from shared.client.transport import checked_url


@dataclass(frozen=True, slots=True)
class Connection:
    """The services' URLs and the key for them; ``home`` is the embedded platform's folder."""

    home: Path
    url: str
    api_key: str | None
    mlflow_url: str | None
    inference_url: str
    inference_key: str | None
    """Differs from ``api_key`` where that is the embedded platform's, and the inference service another's."""
    fleet_url: str
    fleet_key: str | None
    """As ``inference_key``, for the fleet service."""

    @classmethod
    def to(cls, url: str, api_key: str | None, inference_url: str | None = None, fleet_url: str | None = None) -> "Connection":
        """To services that are named in full: nothing is looked up."""
        return cls(default_home(), url, api_key, None, inference_url or url, api_key, fleet_url or url, api_key)


def connection(
    home: Path, url: str | None, api_key: str | None, inference_url: str | None = None, fleet_url: str | None = None
) -> Connection:
    """The services that the user named, else the embedded platform of ``home``.

    An inference or fleet service that nobody named is looked for under the jobs service's URL, as behind a gateway. The
    platform's admin key is used for the platform's own URLs alone: it must not be sent to a stranger. NotReachable if there
    is neither a URL nor a platform.
    """
    platform = platform_of(home)
    own_url: str | None = platform.get("jobs_url")
    named = url or own_url
    if named is None:
        raise NotReachable(
            "No platform is up, and no URL was given.",
            hint="Start one with `picofleet up`, or name a service with --url or PICOFLEET_URL.",
        )
    wanted = checked_url(named)
    is_own = own_url is not None and wanted == checked_url(own_url)
    own: dict[str, Any] = platform if is_own else {}
    inference = checked_url(inference_url or own.get("inference_url") or wanted)
    fleet = checked_url(fleet_url or own.get("fleet_url") or wanted)
    inference_key = fleet_key = api_key
    if api_key is None and is_own:
        api_key = _key_in(Path(platform["admin_key_file"]))
        inference_key = api_key if inference in {own.get("inference_url"), wanted} else None
        fleet_key = api_key if fleet in {own.get("fleet_url"), wanted} else None
    return Connection(home, wanted, api_key, own.get("mlflow_url"), inference, inference_key, fleet, fleet_key)


def default_home() -> Path:
    """PICOFLEET_HOME, else ~/.picofleet."""
    return Path(os.environ.get("PICOFLEET_HOME") or Path.home() / ".picofleet")


def default_connection(
    api_key: str | None = None, inference_url: str | None = None, fleet_url: str | None = None
) -> Connection:
    """What PICOFLEET_URL, _INFERENCE_URL, _FLEET_URL and _API_KEY name, else the embedded platform of PICOFLEET_HOME."""
    return connection(
        default_home(),
        os.environ.get("PICOFLEET_URL"),
        api_key or os.environ.get("PICOFLEET_API_KEY"),
        inference_url or os.environ.get("PICOFLEET_INFERENCE_URL"),
        fleet_url or os.environ.get("PICOFLEET_FLEET_URL"),
    )


def platform_of(home: Path) -> dict[str, Any]:
    """What `picofleet up` wrote down about the platform of ``home``; empty if none is up."""
    try:
        found = json.loads((home.expanduser() / "platform.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _key_in(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as exc:
        raise ClientError(
            f"The platform's admin key {path} cannot be read: {exc.strerror}.",
            hint="Run the command as the user who started the platform, or give a key with PICOFLEET_API_KEY.",
        ) from exc
