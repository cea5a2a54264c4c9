"""What the features of the service share at run time, built once by the app's lifespan."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, cast

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from services.inference.deployments.convergence import Convergence
from services.inference.deployments.rollout_reader import RolloutReader
from services.inference.deployments.shadow import Shadows
from services.inference.engine.served import Table
from services.inference.metrics import Metrics
from services.inference.registry.store import ModelStore
from services.inference.segmentation.drift import Drift
from services.inference.settings import InferenceSettings
from shared.client.connecting import ClientFactory
from shared.kit.blobs import BlobStore
from shared.kit.loops import Loop
from shared.kit.remote_keys import RemoteKeys
from shared.kit.tracing import Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clients of the outside, and what is served. All are safe to use from several threads."""

    settings: InferenceSettings
    engine: Engine
    sessions: sessionmaker[Session]
    keys: RemoteKeys
    store: ModelStore
    fleet: ClientFactory
    """To the fleet service, which carries out deployments on fleets."""
    rollouts: RolloutReader
    feedback: BlobStore
    """Images of corrected masks."""
    table: Table
    convergence: Convergence
    shadows: Shadows
    metrics: Metrics
    processors: int
    """That this process may use."""
    drift: Drift
    tracing: Tracing | None
    wake: Callable[[str], None]
    """Lets the loop of this name tick now."""
    stopping: threading.Event = field(default_factory=threading.Event)


ServiceLoop: TypeAlias = Loop[Services]


def get_services(request: Request) -> Services:
    """The services of the running app."""
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]
"""For routes."""
