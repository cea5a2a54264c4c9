"""API keys of a service that does not own them: it asks the jobs service, and remembers the answer for a while.

So a revoked key works for at most ``KEPT_S`` more. While the jobs service is away, keys that it has vouched for within the
last ``GRACE_S`` go on working: nobody can revoke one then either.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, Final

import httpx
import structlog
from fastapi import Depends, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from shared.contracts.keys import KeyOut, Scope
from shared.kit.auth import Actor, Credentials, check_scope, hash_secret, is_secret
from shared.kit.problems import Unauthorized, Unavailable

log = structlog.get_logger(__name__)

KEPT_S: Final = 60.0
GRACE_S: Final = 3600.0
_MOST: Final = 10_000
"""Answers kept: refusals too, lest a stranger's guesses become a load on the jobs service."""


class KeysAway(Unavailable):
    """The jobs service, which knows the keys, does not answer, and this key was not seen lately."""

    title = "Keys cannot be checked"


@dataclass(frozen=True, slots=True)
class _Known:
    actor: Actor | None
    at: float


class RemoteKeys:
    """``authenticate`` for ``app.state``. Safe to use from several threads."""

    def __init__(self, jobs_url: str, *, timeout_s: float = 5) -> None:
        # trust_env=False: the jobs service is a neighbour; a proxy for the outside world must not get between.
        self._http = httpx.Client(base_url=jobs_url.rstrip("/"), timeout=timeout_s, trust_env=False)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def remembered(self, secret: str) -> Actor | None:
        """The caller if the answer is fresh; None says nothing. Never waits, so an event loop may call it."""
        known = self._known.get(hash_secret(secret))
        return known.actor if known is not None and time.monotonic() - known.at < KEPT_S else None

    def authenticate(self, secret: str) -> Actor | None:
        """The caller; None for unknown, revoked and expired keys alike. KeysAway if nobody can tell."""
        name = hash_secret(secret)
        known = self._known.get(name)
        if known is not None and time.monotonic() - known.at < KEPT_S:
            return known.actor
        try:
            actor = self._ask(secret)
        except (httpx.HTTPError, ValidationError) as exc:
            log.warning("keys.away", error=str(exc))
            if known is not None and known.actor is not None and time.monotonic() - known.at < GRACE_S:
                return known.actor
            raise KeysAway("The jobs service, which knows the API keys, does not answer.") from exc
        self._remember(name, actor)
        return actor

    def _ask(self, secret: str) -> Actor | None:
        answer = self._http.get("/v1/keys/self", headers={"Authorization": f"Bearer {secret}"})
        if answer.status_code == 401:
            return None
        answer.raise_for_status()
        key = KeyOut.model_validate_json(answer.content)
        return Actor(key_id=key.id, name=key.name, scope=key.scope)

    def _remember(self, name: str, actor: Actor | None) -> None:
        with self._lock:
            self._known[name] = _Known(actor, time.monotonic())
            self._known.move_to_end(name)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)


async def admitted(keys: RemoteKeys, authorization: str | None) -> Actor:
    """The caller behind an ``Authorization`` header, as ``authenticated`` finds it; a key that ``keys`` remembers costs no hop
    to a thread and back. Unauthorized, KeysAway.
    """
    scheme, _, secret = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Unauthorized("The request carries no key.")
    actor = keys.remembered(secret)
    if actor is None and is_secret(secret):
        actor = await run_in_threadpool(keys.authenticate, secret)
    if actor is None:
        raise Unauthorized("The key is unknown, revoked or expired.")
    return actor


async def authenticated_at_once(request: Request, _: Credentials) -> Actor:
    """The caller of a request to an app that has ``app.state.keys``. The credentials are declared for the description."""
    actor = await admitted(request.app.state.keys, request.headers.get("authorization"))
    request.state.actor = actor
    return actor


class AtOnceRoute(APIRoute):
    """A route whose handler takes the request alone and reads everything by hand; its caller needs the scope viewer.

    FastAPI's way through dependencies and parameters takes half a millisecond, which is much beside some answers. What the
    route declares of them is for its description only.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for another way to the endpoint."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            check_scope(await authenticated_at_once(request, None), Scope.VIEWER)
            answer: Response = await endpoint(request)
            return answer

        return handle


def requires_at_once(*scopes: Scope) -> Any:
    """As ``requires``, for routes where a fraction of a millisecond counts: their other dependencies must be async too."""

    async def allowed(actor: Annotated[Actor, Depends(authenticated_at_once)]) -> Actor:
        return check_scope(actor, *scopes)

    return Depends(allowed)
