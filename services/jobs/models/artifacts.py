"""Files of a version, passed on from MLflow chunk by chunk."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from services.jobs.models import service
from services.jobs.models.errors import ArtifactNotFound, asking_registry
from shared.kit.mlflow_api import MlflowApi


class Artifact(NamedTuple):
    """A file of a version. Versions never change, so neither does it."""

    folder_uri: str
    path: str
    size_bytes: int

    @property
    def etag(self) -> str:
        """Names the content: folder and path belong to one run, which is over."""
        return hashlib.sha256(f"{self.folder_uri}\n{self.path}\n{self.size_bytes}".encode()).hexdigest()[:32]

    @property
    def filename(self) -> str:
        """What a browser may save it as: nothing that could end a header or name a folder."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.path.rsplit("/", 1)[-1])


def find(mlflow: MlflowApi, name: str, version: int, path: str) -> Artifact:
    """Raises VersionNotFound, ArtifactNotFound."""
    missing = ArtifactNotFound(f"{name}/{version} has no file {path!r}.")
    source = service.source_of(mlflow, service.registered_version(mlflow, name, version))
    folder, _, file = path.rpartition("/")
    with asking_registry(missing):
        if ".." in path.split("/"):
            raise missing
        entries = mlflow.artifacts(f"{source}/{folder}" if folder else source)
    for entry in entries:
        if entry.path == file and not entry.is_folder:
            return Artifact(source, path, entry.size_bytes or 0)
    raise missing


def read(mlflow: MlflowApi, artifact: Artifact, start: int, end: int) -> Iterator[bytes]:
    """Bytes ``start`` up to ``end``. Opened before this returns, so that a refusal can still become an answer."""
    with ExitStack() as opening:
        missing = ArtifactNotFound(f"The file {artifact.path!r} is gone.")
        with asking_registry(missing):
            opened = opening.enter_context(mlflow.download(artifact.folder_uri, artifact.path, first_byte=start))
        held = opening.pop_all()
    return _chunks(held, opened.chunks, skip=start - opened.first_byte, left=end - start)


def _chunks(held: ExitStack, chunks: Iterator[bytes], *, skip: int, left: int) -> Iterator[bytes]:
    with held:
        for chunk in chunks:
            if left <= 0:
                return
            wanted = chunk[skip : skip + left]
            skip = max(0, skip - len(chunk))
            left -= len(wanted)
            if wanted:
                yield wanted
