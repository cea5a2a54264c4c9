"""Model versions on this machine's disk: fetched from the registry once, checked, and there when the registry is not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pydantic import BaseModel

from services.inference.engine.errors import Unusable, WrongDigest
from services.inference.engine.loaded import digest_of_file
from services.inference.registry.errors import ModelUnknown, NotServable, RegistryAway
from shared.client.errors import ClientError, NotReachable, ProblemError
from shared.client.sdk import PicofleetClient
from shared.contracts.models import PACKAGE_TAG, VersionOut
from shared.contracts.serving import CONFIG_FILE, NETWORK_DIGEST_TAG, NETWORK_FILE, SERVING_FILE
from shared.kit.cache import Cache

log = structlog.get_logger(__name__)

_VERSION_FILE: Final = "version.json"


class StoredVersion(BaseModel):
    """``version.json`` of a fetched version: what the registry said of it."""

    model: str
    digest: str | None
    """Of model.onnx, as registered; None of versions registered without."""
    tags: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version's folder."""

    folder: Path
    stored: StoredVersion


class ModelStore:
    """Versions by ``name/version``. ``connect`` makes a client of the jobs service, which passes the registry's files on."""

    def __init__(self, cache: Cache, connect: "ClientFactory") -> None:
        self._cache, self._connect = cache, connect

    def resolve(self, reference: str) -> str:
        """name/version of ``name/version`` or ``name@alias``. ModelUnknown, RegistryAway.

        A version that is here already is not asked for.
        """
        name, at, alias = reference.partition("@")
        if not at:
            if not self._cache.has_folder(_key(reference)):
                self._version(reference)
            return reference
        with self._asking(reference) as client:
            version = client.models.get(name).aliases.get(alias)
        if version is None:
            raise ModelUnknown(
                f"{name} has no alias {alias!r}.", hint=f"picofleet models promote {name} VERSION --alias {alias}"
            )
        return f"{name}/{version}"

    @contextmanager
    def fetched(self, model: str) -> Iterator[Fetched]:
        """The folder of ``name/version`` while the block runs. ModelUnknown, RegistryAway, NotServable; Unusable if a file is
        not what was registered.
        """
        with self._cache.folder(_key(model), lambda folder: self._fetch(model, folder)) as folder:
            yield Fetched(folder, StoredVersion.model_validate_json((folder / _VERSION_FILE).read_bytes()))

    def forget(self, model: str) -> None:
        """Remove a damaged copy, so that the next use fetches it anew."""
        self._cache.drop_folder(_key(model))

    def _fetch(self, model: str, folder: Path) -> None:
        version = self._version(model)
        if PACKAGE_TAG in version.tags or NETWORK_FILE not in version.artifacts:
            raise NotServable(f"{model} has no {NETWORK_FILE} that a CPU could run.", hint="name a version with a network")
        folder.mkdir(parents=True)
        name, _, number = model.rpartition("/")
        with self._asking(model) as client:
            for file in (NETWORK_FILE, CONFIG_FILE, SERVING_FILE):
                if file in version.artifacts:
                    client.models.download(name, int(number), file, folder / file)
        stored = StoredVersion(model=model, digest=version.tags.get(NETWORK_DIGEST_TAG), tags=version.tags)
        if stored.digest is not None and (found := digest_of_file(folder / NETWORK_FILE)) != stored.digest:
            raise WrongDigest(
                f"The registry hands out a {NETWORK_FILE} of {model} with the digest {found}; registered was {stored.digest}.",
                hint="The file was damaged or replaced since it was registered; register the model again.",
            )
        (folder / _VERSION_FILE).write_text(json.dumps(stored.model_dump()))
        log.info("model.fetched", model=model, digest=stored.digest)

    def _version(self, model: str) -> VersionOut:
        name, _, number = model.rpartition("/")
        with self._asking(model) as client:
            return client.models.version(name, int(number))

    @contextmanager
    def _asking(self, reference: str) -> Iterator[PicofleetClient]:
        try:
            with self._connect() as client:
                yield client
        except NotReachable as exc:
            raise RegistryAway(f"{reference} is not here, and the jobs service does not answer: {exc}") from exc
        except ProblemError as exc:
            raise _translated(reference, exc) from exc
        except ClientError as exc:
            raise RegistryAway(f"{reference} cannot be fetched: {exc}") from exc


class ClientFactory:
    """Makes clients of the jobs service; the key is read anew each time, so that it may be exchanged."""

    def __init__(self, url: str, *, key: str | None, key_file: Path | None) -> None:
        self._url, self._key, self._key_file = url, key, key_file

    def __call__(self) -> PicofleetClient:
        """A client that gives up soon: a loop comes back anyway."""
        key = self._key_file.read_text().strip() if self._key_file is not None else self._key
        return PicofleetClient(self._url, key, timeout_s=20, retries=1)


def _translated(reference: str, exc: ProblemError) -> Exception:
    if exc.status == 404:
        return ModelUnknown(f"The registry has no {reference}.")
    if exc.status >= 500:
        return RegistryAway(f"{reference} is not here, and the registry does not answer: {exc}")
    return Unusable(f"{reference} cannot be fetched: {exc}", hint="Check the service's API key: it needs the scope viewer.")


def _key(model: str) -> str:
    return f"model-{model.replace('/', '-')}"
