"""Which version answers: the deployments that this process serves now."""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.inference.engine.desk import Desk
from services.inference.engine.loaded import LoadedVersion
from shared.contracts.deployments import CpuTarget
from shared.kit.problems import NotFound, Unavailable

_BUCKETS: Final = 10_000
_GOLDEN: Final = 6181
"""Of 10,000: steps by the golden ratio visit all buckets so evenly that any share is met within a few requests."""


class DeploymentNotFound(NotFound):
    """No deployment has this name."""

    title = "No such deployment"
    hint = "`picofleet deployments list` shows those there are"


class DeploymentNotReady(Unavailable):
    """The deployment's first generation is being loaded, or cannot be."""

    title = "Deployment is not ready"


@dataclass(frozen=True, slots=True)
class Part:
    """A version and its percent of the requests."""

    loaded: LoadedVersion
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One generation of a deployment, all of its versions loaded. Never changes: a newer one takes its place."""

    name: str
    deployment_id: str = ""
    """Of the deployment that has the name now: a deleted one may have had it before."""
    generation: int
    spec: CpuTarget
    parts: tuple[Part, ...]
    shadow: LoadedVersion | None = None
    desk: Desk
    _turn: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def choose(self, key: str | None) -> LoadedVersion:
        """The version for a request: the same for the same ``key``, else by turns in the shares of the parts."""
        bucket = sticky_bucket(self.name, key) if key else _bucket_of_turn(next(self._turn))
        passed = 0
        for part in self.parts:
            passed += part.percent * _BUCKETS // 100
            if bucket < passed:
                return part.loaded
        return self.parts[-1].loaded


def _bucket_of_turn(turn: int) -> int:
    return turn * _GOLDEN % _BUCKETS


def is_turn_of(turn: int, percent: int) -> bool:
    """Whether the request of this number is among ``percent`` of all, which are spread evenly."""
    return _bucket_of_turn(turn) < percent * _BUCKETS // 100


def sticky_bucket(deployment: str, key: str) -> int:
    """Where a key falls, 0..9999. A part that grows keeps the keys it has, as long as the parts' order stays."""
    return int.from_bytes(hashlib.sha256(f"{deployment}\n{key}".encode()).digest()[:8]) % _BUCKETS


class Table:
    """The deployments by name. Readers take no lock: a whole new mapping takes the old one's place."""

    def __init__(self) -> None:
        self._served: dict[str, Served] = {}
        self._failing: dict[str, str] = {}

    def get(self, name: str) -> Served:
        """DeploymentNotFound, DeploymentNotReady."""
        served = self._served.get(name)
        if served is not None:
            return served
        if name in self._failing:
            raise DeploymentNotReady(f"The deployment {name!r} is not served yet: {self._failing[name]}", deployment=name)
        raise DeploymentNotFound(f"There is no deployment named {name!r}.", deployment=name)

    def all(self) -> list[Served]:
        """In no order."""
        return list(self._served.values())

    def failing(self) -> dict[str, str]:
        """Why nothing is served yet, by name of the deployments for which that is so."""
        return dict(self._failing)

    def put(self, served: Served) -> None:
        """From now on requests get this one."""
        self._served = {**self._served, served.name: served}
        self._failing = {name: why for name, why in self._failing.items() if name != served.name}

    def note(self, name: str, why: str) -> None:
        """What to tell requests to a deployment of which nothing is served yet."""
        self._failing = {**self._failing, name: why}

    def drop(self, name: str) -> None:
        """Requests that have it finish with it."""
        self._served = {key: served for key, served in self._served.items() if key != name}
        self._failing = {key: why for key, why in self._failing.items() if key != name}
