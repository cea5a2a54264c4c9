"""What the features of the service share at run time, built once by the app's lifespan."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias, cast

from celery import Celery
from fastapi import Depends, Request
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from services.jobs.jobs.messenger import Messenger
from services.jobs.jobs.wakeups import Wakeups
from services.jobs.packages.signer import Signer
from services.jobs.settings import JobsSettings
from shared.kit.blobs import BlobStore
from shared.kit.loops import Loop
from shared.kit.mlflow_api import MlflowApi


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Clients of the outside. All are safe to use from several threads."""

    settings: JobsSettings
    engine: Engine
    sessions: sessionmaker[Session]
    blobs: BlobStore
    redis: Redis
    celery: Celery
    wake: Callable[[str], None]
    """Lets the loop of this name tick now."""
    messenger: Messenger
    wakeups: Wakeups
    mlflow: MlflowApi
    signer: Signer
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the service goes down: streams and listening loops end."""

    def run_url(self, run_id: str | None) -> str | None:
        """An MLflow run as a browser sees it; None without a run."""
        url = self.settings.mlflow_public_url or self.settings.mlflow_url
        # MLflow's own short link: it finds the experiment by itself.
        return f"{url.rstrip('/')}/#/runs/{run_id}" if run_id else None


ServiceLoop: TypeAlias = Loop[Services]


def get_services(request: Request) -> Services:
    """The services of the running app."""
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]
