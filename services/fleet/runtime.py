"""What the features of the service share at run time, built once by the app's lifespan."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from services.fleet.ddi.reads import PollReads
from services.fleet.events.feed import EventFeed
from services.fleet.metrics import Metrics
from services.fleet.polling.memory import PollMemory
from services.fleet.settings import FleetSettings
from shared.client.connecting import ClientFactory
from shared.kit.blobs import BlobStore
from shared.kit.loops import Loop
from shared.kit.remote_keys import RemoteKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clients of the outside, and what is remembered. All are safe to use from several threads."""

    settings: FleetSettings
    engine: Engine
    sessions: sessionmaker[Session]
    keys: RemoteKeys
    connect: ClientFactory
    """To the jobs service: packages, and signed returns."""
    blobs: BlobStore
    polls: PollMemory
    reads: PollReads
    feed: EventFeed
    """For the app's event loop alone."""
    metrics: Metrics
    wake: Callable[[str], None]
    """Lets the loop of this name tick now."""
    stopping: threading.Event = field(default_factory=threading.Event)


ServiceLoop: TypeAlias = Loop[Services]


def get_services(request: Request) -> Services:
    """The services of the running app."""
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]
"""For routes."""
