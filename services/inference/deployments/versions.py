"""Loaded versions for deployments: shared by all that use them, gone with the last of these."""

from contextlib import ExitStack
from dataclasses import replace

from services.inference.deployments.convergence import VersionKey
from services.inference.deployments.domain import Plan
from services.inference.engine.batching import BatchingRunner
from services.inference.engine.errors import Damaged, WrongNetwork
from services.inference.engine.loaded import LoadedVersion, load
from services.inference.engine.served import Part
from services.inference.runtime import Services
from shared.contracts.deployments import CpuTarget, ResolvedPart


def parallel_runs(spec: CpuTarget, processors: int) -> int:
    """Networks of the deployment that run at the same time."""
    return spec.parallel or processors


def desk_width(spec: CpuTarget, processors: int) -> int:
    """Requests at work at the same time: with batches so many that their windows can meet."""
    return max(parallel_runs(spec, processors), spec.batching.max_batch)


def parts_of(services: Services, plan: Plan) -> tuple[tuple[Part, ...], LoadedVersion | None]:
    """All versions of the plan, loaded; the shadow apart. Unusable, ModelsAway, ModelUnknown, NotServable."""
    parts = tuple(Part(_shared(services, part, plan.spec), part.percent) for part in plan.versions)
    shadow = _shared(services, plan.shadow, plan.spec) if plan.shadow else None
    if shadow is not None:
        _check_comparable(shadow, parts)
    return parts, shadow


def _check_comparable(shadow: LoadedVersion, parts: tuple[Part, ...]) -> None:
    for loaded in (part.loaded for part in parts):
        if (shadow.config.input_size, shadow.config.window) != (loaded.config.input_size, loaded.config.window):
            raise WrongNetwork(
                f"The shadow {shadow.model} reads other windows than {loaded.model}, so their masks cannot be compared.",
                hint="Choose a shadow with the same input size and window policy.",
            )


def _shared(services: Services, part: ResolvedPart, spec: CpuTarget) -> LoadedVersion:
    batching = spec.batching if spec.batching.max_batch > 1 else None
    lanes = parallel_runs(spec, services.processors) if batching else 0
    key = VersionKey(part.model, part.engine, spec.threads or 1, lanes, batching)
    return services.convergence.version(key) or _loaded(services, key)


def _loaded(services: Services, key: VersionKey) -> LoadedVersion:
    """Fetched if need be, checked and warm. A damaged copy is fetched anew, once."""
    try:
        return _opened(services, key)
    except Damaged:
        services.store.forget(key.model)
    return _opened(services, key)


def _opened(services: Services, key: VersionKey) -> LoadedVersion:
    with ExitStack() as opening:
        found = opening.enter_context(services.store.fetched(key.model))
        loaded = load(
            found.folder,
            key.model,
            key.engine,
            digest=found.stored.digest,
            threads=key.threads,
            processors=services.processors,
        )
        loaded = _batching(loaded, key)
        # The folder stays locked while the version is in use: what is served must survive a restart without the registry.
        services.convergence.keep(key, loaded, opening.pop_all())
        return loaded


def _batching(loaded: LoadedVersion, key: VersionKey) -> LoadedVersion:
    if key.batching is None:
        return loaded
    delay_s = key.batching.max_delay_ms / 1000
    runner = BatchingRunner(loaded.runner, max_batch=key.batching.max_batch, max_delay_s=delay_s, lanes=key.lanes)
    return replace(loaded, runner=runner, step=key.batching.max_batch)
