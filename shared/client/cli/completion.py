"""Shell completion of names that only the service knows. Silent when it cannot be asked: nobody wants errors at a tab key."""

from collections.abc import Iterable

from shared.client.config import default_connection
from shared.client.errors import ClientError
from shared.client.sdk import PicofleetClient


def complete_job(incomplete: str) -> list[tuple[str, str]]:
    """Ids of the newest jobs."""
    client = _client()
    if client is None:
        return []
    try:
        with client:
            newest = [(job.id, f"{job.state.value} {job.name or job.kind.value}") for job in client.jobs.list(limit=20)]
    except ClientError:
        return []
    return [("last", "the newest")] * "last".startswith(incomplete) + _starting(newest, incomplete)


def complete_dataset(incomplete: str) -> list[tuple[str, str]]:
    """Names of datasets."""
    return _starting([(name, ", ".join(splits)) for name, splits in _datasets()], incomplete)


def complete_split(incomplete: str) -> list[tuple[str, str]]:
    """``dataset/split``."""
    return _starting([(f"{name}/{split}", "") for name, splits in _datasets() for split in splits], incomplete)


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Names of models."""
    client = _client()
    if client is None:
        return []
    try:
        with client:
            return _starting([(model.name, "") for model in client.models.list(limit=50)], incomplete)
    except ClientError:
        return []


def _datasets() -> list[tuple[str, list[str]]]:
    client = _client()
    if client is None:
        return []
    try:
        with client:
            return [(dataset.name, list(dataset.splits)) for dataset in client.datasets.list(limit=50)]
    except ClientError:
        return []


def _client() -> PicofleetClient | None:
    try:
        found = default_connection()
    except ClientError:
        return None
    return PicofleetClient(found.url, found.api_key, timeout_s=2, retries=0)


def _starting(found: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    return [(value, text) for value, text in found if value.startswith(incomplete)]
