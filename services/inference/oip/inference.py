"""One inference request, by HTTP or gRPC: a version is chosen, and one thread does the rest, from its bytes to the answer's."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.inference.engine.loaded import LoadedVersion
from services.inference.engine.runners import Logits
from services.inference.engine.served import Served
from services.inference.oip import versions
from services.inference.oip.messages import InferRequest
from services.inference.oip.tensors import check_logits, to_inputs
from services.inference.runtime import Services
from shared.picosam.prompt import from_input

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is asked."""

    model: str
    """A deployment's name."""
    version: str
    """"" for any."""
    key: str | None
    """The same version for the same key, where any may answer."""


@dataclass(frozen=True, slots=True)
class _Timed(Generic[T]):
    answer: T
    windows: int
    stages: dict[str, float]


async def infer(
    services: Services,
    target: Target,
    decode: Callable[[], InferRequest],
    encode: Callable[[InferRequest, str, Logits], T],
    *,
    within_s: float | None = None,
) -> T:
    """The encoded answer. ``encode`` gets the request, the name of the version that answered and its logits.

    DeploymentNotFound, DeploymentNotReady, VersionNotServed, Overloaded, DeadlineExceeded (the deployment's own deadline or
    ``within_s``), and BadRequest for what cannot be decoded.
    """
    served = services.table.get(target.model)
    called, loaded = versions.pick(served, target.version, target.key)
    deadline_s = served.spec.deadline_ms / 1000
    with services.metrics.counted(served.name, loaded.model):
        turn = await served.desk.do(
            lambda alone: _work(services, served, loaded, called, decode, encode, alone=alone),
            deadline_s=deadline_s if within_s is None else min(deadline_s, within_s),
        )
    stages = {"queue": turn.waited_s} | turn.result.stages
    services.metrics.ran(served.name, turn.result.windows, stages)
    if services.tracing is not None:
        services.tracing.stages(stages)
    return turn.result.answer


def _work(
    services: Services,
    served: Served,
    loaded: LoadedVersion,
    called: str,
    decode: Callable[[], InferRequest],
    encode: Callable[[InferRequest, str, Logits], T],
    *,
    alone: bool,
) -> _Timed[T]:
    begun = time.perf_counter()
    request = decode()
    inputs = to_inputs(request.tensors, loaded.config.input_size)
    decoded = time.perf_counter()
    logits = check_logits(loaded.run(inputs, alone=alone))
    ran = time.perf_counter()
    answer = encode(request, called, logits)
    if served.shadow is not None:
        services.shadows.offer(served, from_input(inputs), logits)
    stages = {"decode": decoded - begun, "run": ran - decoded, "encode": time.perf_counter() - ran}
    return _Timed(answer, len(inputs), stages)
