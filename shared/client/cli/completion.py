"""Shell completion of names that only the service knows. Silent when it cannot be asked: nobody wants errors at a tab key."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from shared.client.config import default_connection
from shared.client.errors import ClientError
from shared.client.sdk import PicofleetClient

T = TypeVar("T")
Ask = Callable[[PicofleetClient], list[T]]


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest jobs."""
    found = _asked(lambda client: [(job.id, f"{job.state} {job.name or job.kind}") for job in client.jobs.list(limit=20)])
    return _last(found, incomplete) + _starting(found, incomplete)


def complete_pipeline(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest pipelines."""
    found = _asked(lambda client: [(each.id, f"{each.state} {each.name}") for each in client.pipelines.list(limit=20)])
    return _last(found, incomplete) + _starting(found, incomplete)


def complete_sweep(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest sweeps."""
    found = _asked(lambda client: [(each.id, f"{each.state} {each.name}") for each in client.sweeps.list(limit=20)])
    return _last(found, incomplete) + _starting(found, incomplete)


def complete_template(incomplete: str) -> list[tuple[str, str]]:
    """Names of pipeline templates."""
    return _starting(
        _asked(lambda client: [(each.name, each.description) for each in client.pipelines.templates()]), incomplete
    )


def complete_dataset(incomplete: str) -> list[tuple[str, str]]:
    """Names of datasets."""
    return _starting([(name, ", ".join(splits)) for name, splits in _datasets()], incomplete)


def complete_split(incomplete: str) -> list[tuple[str, str]]:
    """``dataset/split``."""
    return _starting([(f"{name}/{split}", "") for name, splits in _datasets() for split in splits], incomplete)


def complete_deployment(incomplete: str) -> list[tuple[str, str]]:
    """Names of deployments."""
    found = _asked(
        lambda client: [(each.name, ", ".join(part.model for part in each.versions)) for each in client.deployments.list()]
    )
    return _starting(found, incomplete)


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Names of models."""
    return _starting(_asked(lambda client: [(model.name, "") for model in client.models.list(limit=50)]), incomplete)


def complete_package(incomplete: str) -> list[tuple[str, str]]:
    """The newest packages, as picosam2/7."""
    found = _asked(lambda client: [(f"{each.line}/{each.release}", each.model) for each in client.packages.list(limit=20)])
    return _starting(found, incomplete)


def complete_fleet_package(incomplete: str) -> list[tuple[str, str]]:
    """The newest packages that can be rolled out."""
    found = _asked(lambda client: [(each.ref, each.model or "") for each in client.fleet.packages.list(limit=20)])
    return _starting(found, incomplete)


def complete_camera(incomplete: str) -> list[tuple[str, str]]:
    """What the newest cameras call themselves."""
    found = _asked(lambda client: [(each.controller_id, each.id) for each in client.fleet.cameras.list(limit=50)])
    return _starting(found, incomplete)


def complete_group(incomplete: str) -> list[tuple[str, str]]:
    """Names of groups of cameras."""
    return _starting(_asked(lambda client: [(each.name, each.selector) for each in client.fleet.groups.list()]), incomplete)


def complete_rollout(incomplete: str) -> list[tuple[str, str]]:
    """Names of the newest rollouts."""
    found = _asked(
        lambda client: [(each.name, f"{each.state} {each.package}") for each in client.fleet.rollouts.list(limit=20)]
    )
    return _last(found, incomplete) + _starting(found, incomplete)


def _last(found: list[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [("last", "the newest")] if found and "last".startswith(incomplete) else []


def _datasets() -> list[tuple[str, list[str]]]:
    return _asked(lambda client: [(dataset.name, list(dataset.splits)) for dataset in client.datasets.list(limit=50)])


def _asked(ask: Ask[T]) -> list[T]:
    """What the service answers; nothing if it cannot be asked."""
    client = _client()
    if client is None:
        return []
    try:
        with client:
            return ask(client)
    except ClientError:
        return []


def _client() -> PicofleetClient | None:
    try:
        found = default_connection()
    except ClientError:
        return None
    return PicofleetClient(found, timeout_s=2, retries=0)


def _starting(found: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [(value, text) for value, text in found if value.startswith(incomplete)]
