"""The device that asks: what the request says of it, before anybody has looked whether that is true."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from services.fleet.ddi.errors import InvalidControllerId, TenantNotFound
from services.fleet.settings import FleetSettings
from shared.contracts.cameras import TENANT, ControllerId
from shared.kit.auth import hash_secret

TARGET: Final = "TargetToken"
GATEWAY: Final = "GatewayToken"

_CONTROLLER_ID: Final[TypeAdapter[str]] = TypeAdapter(ControllerId)
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

HeaderMap = Mapping[bytes, bytes]
"""Of an ASGI scope; names in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """``scheme`` and ``token_hash`` of what it showed; empty if it showed nothing of use."""

    controller_id: str
    authorization: bytes
    scheme: str
    token_hash: str
    address: str
    base: str

    @property
    def root(self) -> str:
        """Where this device's links start."""
        return f"{self.base}/{TENANT}/controller/v1/{quote(self.controller_id, safe='')}"


def caller_of(request: Request, settings: FleetSettings) -> Caller:
    """The device behind a request whose path is the raw one (see ``door``). TenantNotFound, InvalidControllerId."""
    if request.path_params["tenant"] != TENANT:
        raise TenantNotFound("There is no such tenant.")
    return caller_as(request, settings, controller_id_of(request.path_params["controller_id"]))


def caller_as(request: Request, settings: FleetSettings, controller_id: str) -> Caller:
    """The device of this id behind a request."""
    return caller_in(request.scope, dict(request.scope["headers"]), settings, controller_id)


def caller_in(scope: Mapping[str, Any], headers: HeaderMap, settings: FleetSettings, controller_id: str) -> Caller:
    """The device of this id behind a request's ASGI scope."""
    authorization = headers.get(b"authorization", b"")
    scheme, token_hash = read_authorization(authorization)
    return Caller(
        controller_id=controller_id,
        authorization=authorization,
        scheme=scheme,
        token_hash=token_hash,
        address=address_of(scope),
        base=base_of(scope, headers, settings),
    )


def read_authorization(header: bytes) -> tuple[str, str]:
    """The scheme and the SHA-256 of the token, as hex; both empty if it is neither of the two that devices may use."""
    scheme, _, token = header.decode("latin-1").strip().partition(" ")
    named = {TARGET.lower(): TARGET, GATEWAY.lower(): GATEWAY}.get(scheme.lower(), "")
    token = token.strip()
    return (named, hash_secret(token)) if named and token else ("", "")


def decoded(segment: str) -> str:
    """A segment of the raw path as text. UnicodeDecodeError where its bytes are no UTF-8."""
    return unquote_to_bytes(segment).decode()


def controller_id_of(segment: str) -> str:
    """The id in a segment of the raw path; InvalidControllerId."""
    try:
        return _CONTROLLER_ID.validate_python(decoded(segment))
    except UnicodeDecodeError as exc:
        raise InvalidControllerId("The controller id is not percent-encoded UTF-8.") from exc
    except ValidationError as exc:
        raise InvalidControllerId(f"The controller id is refused: {exc.errors()[0]['msg']}.") from exc


def address_of(scope: Mapping[str, Any]) -> str:
    """From where it asked."""
    client = scope.get("client")
    return str(client[0])[:64] if client else ""


def base_of(scope: Mapping[str, Any], headers: HeaderMap, settings: FleetSettings) -> str:
    """What the device sees the service as, without a slash at the end.

    Whoever writes these headers is sent only to where they say themselves, and remembered answers are kept apart by it.
    """
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    scheme = _first(headers, b"x-forwarded-proto")
    host = _first(headers, b"x-forwarded-host")
    if not _HOST.fullmatch(host):
        host = _first(headers, b"host")
    if not _HOST.fullmatch(host):
        host = f"{settings.host}:{settings.port}"
    return f"{scheme if scheme in {'http', 'https'} else scope['scheme']}://{host}"


def _first(headers: HeaderMap, name: bytes) -> str:
    value = headers.get(name)
    return "" if value is None else value.decode("latin-1").partition(",")[0].strip()
