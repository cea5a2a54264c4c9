"""Model versions on this machine's disk: fetched from the registry once, checked, and there when the registry is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import BaseModel, ValidationError

from services.inference.engine.errors import Damaged, WrongDigest
from services.inference.registry.errors import ModelsAway, ModelUnknown, NotServable
from shared.client.connecting import ClientFactory
from shared.client.errors import ClientError, NotReachable, ProblemError
from shared.contracts.base import Digest, digest_of_file
from shared.contracts.serving import CONFIG_FILE, NETWORK_DIGEST_TAG, NETWORK_FILE, SERVING_FILE
from shared.contracts.tags import PACKAGE_TAG, PARENT_VERSION_TAG
from shared.kit.cache import Cache

if TYPE_CHECKING:  # with all that a job can be told behind them: a start with all models in the cache need not import them
    from shared.client.sdk import PicofleetClient
    from shared.contracts.models import ModelOut, VersionOut

log = structlog.get_logger(__name__)

_VERSION_FILE: Final = "version.json"


class StoredVersion(BaseModel):
    """``version.json`` of a fetched version: what the registry said of it."""

    model: str
    digest: Digest
    """Of model.onnx, as registered; of versions registered without, as it came."""
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version's folder."""

    folder: Path
    stored: StoredVersion


class ModelStore:
    """Versions by ``name/version``. ``connect`` makes a client of the jobs service, which passes the registry's files on."""

    def __init__(self, cache: Cache, connect: ClientFactory) -> None:
        self._cache, self._connect = cache, connect

    def resolve(self, reference: str) -> str:
        """name/version of ``name/version`` or ``name@alias``. ModelUnknown, NotServable, ModelsAway.

        A version that is here already is not asked for.
        """
        model = self._named(reference)
        if not self._cache.has_folder(_key(model)):
            _require_network(model, self._version(model))
        return model

    def registered(self) -> "list[ModelOut]":
        """All models of the registry. ModelsAway."""
        with self._asking("The list of models") as client:
            return list(client.models.list())

    def registered_model(self, name: str) -> "ModelOut":
        """One of them. ModelUnknown, ModelsAway."""
        with self._asking(name) as client:
            return client.models.get(name)

    @contextmanager
    def fetched(self, model: str) -> Iterator[Fetched]:
        """The folder of ``name/version``, safe from eviction while the block runs.

        ModelUnknown, ModelsAway, NotServable; Unusable if a file is not what was registered.
        """
        with self._cache.folder(_key(model), lambda folder: self._fetch(model, folder)) as folder:
            yield Fetched(folder, _stored(folder))

    def forget(self, model: str) -> None:
        """Remove a damaged copy, so that the next use fetches it anew."""
        self._cache.drop_folder(_key(model))

    def _named(self, reference: str) -> str:
        name, at, alias = reference.partition("@")
        if not at:
            return reference
        with self._asking(reference) as client:
            version = client.models.get(name).aliases.get(alias)
        if version is None:
            hint = f"picofleet models promote {name} VERSION --alias {alias}"
            raise ModelUnknown(f"The model {name!r} has no alias {alias!r}.", hint=hint)
        return f"{name}/{version}"

    def _fetch(self, model: str, folder: Path) -> None:
        version = self._version(model)
        _require_network(model, version)
        folder.mkdir(parents=True)
        with self._asking(model) as client:
            for file in (NETWORK_FILE, CONFIG_FILE, SERVING_FILE):
                if file in version.artifacts:
                    client.models.download(version.name, version.version, file, folder / file)
        found = digest_of_file(folder / NETWORK_FILE)
        if (wanted := version.tags.get(NETWORK_DIGEST_TAG, found)) != found:
            raise WrongDigest(
                f"The registry hands out a {NETWORK_FILE} of {model} with the digest {found}; registered was {wanted}.",
                hint="The file was damaged or replaced since it was registered; register the model again.",
            )
        stored = StoredVersion(model=model, digest=found, tags=version.tags)
        (folder / _VERSION_FILE).write_text(stored.model_dump_json())
        log.info("model.fetched", model=model, digest=found)

    def _version(self, model: str) -> "VersionOut":
        name, _, number = model.rpartition("/")
        with self._asking(model) as client:
            return client.models.version(name, int(number))

    @contextmanager
    def _asking(self, reference: str) -> "Iterator[PicofleetClient]":
        try:
            with self._connect() as client:
                yield client
        except NotReachable as exc:
            raise ModelsAway(f"{reference} is not here, and the jobs service does not answer: {exc}") from exc
        except ProblemError as exc:
            raise _translated(reference, exc) from exc
        except (ClientError, OSError) as exc:
            raise ModelsAway(f"{reference} cannot be fetched: {exc}") from exc


def _require_network(model: str, version: "VersionOut") -> None:
    if PACKAGE_TAG not in version.tags and NETWORK_FILE in version.artifacts:
        return
    parent = version.tags.get(PARENT_VERSION_TAG)
    what = "is a package for cameras" if PACKAGE_TAG in version.tags else f"has no {NETWORK_FILE}"
    hint = f"name the version that it was made from, {parent}" if parent else NotServable.hint
    raise NotServable(f"{model} {what}; there is nothing in it that a CPU could run.", hint=hint)


def _stored(folder: Path) -> StoredVersion:
    try:
        return StoredVersion.model_validate_json((folder / _VERSION_FILE).read_bytes())
    except (OSError, ValidationError) as exc:
        raise Damaged(f"{_VERSION_FILE} in the cache cannot be read: {exc}"[:500], hint="It is fetched anew.") from exc


def _translated(reference: str, exc: ProblemError) -> Exception:
    if exc.status in {401, 403}:
        hint = "Check the service's API key for the jobs service: it needs the scope viewer."
        return ModelsAway(f"{reference} is not here, and the jobs service refuses to show it: {exc}", hint=hint)
    if exc.status >= 500 or exc.status == 429:
        return ModelsAway(f"{reference} is not here, and the registry does not answer: {exc}")
    return ModelUnknown(f"The registry has no {reference}.")


def _key(model: str) -> str:
    return f"model-{model.replace('/', '-')}"
