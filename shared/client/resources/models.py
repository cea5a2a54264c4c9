"""The model registry over REST."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from shared.client.files import Progress, save_stream
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.jobs import JobOut, ModelImportSubmission
from shared.contracts.models import AliasIn, LineageOut, ModelOut, VersionOut


class Models:
    """`/v1/models`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None) -> Iterator[ModelOut]:
        """All registered models."""
        return every(self._transport, "/v1/models", ModelOut, limit=limit)

    def get(self, name: str) -> ModelOut:
        """One model; ProblemError 404 if there is none."""
        return parsed(ModelOut, self._transport.call("GET", _path(name)))

    def versions(self, name: str, *, limit: int | None = None) -> Iterator[VersionOut]:
        """The versions of a model, newest first."""
        return every(self._transport, f"{_path(name)}/versions", VersionOut, limit=limit)

    def version(self, name: str, version: int) -> VersionOut:
        """One version with the names of its files."""
        return parsed(VersionOut, self._transport.call("GET", f"{_path(name)}/versions/{version}"))

    def lineage(self, name: str, version: int) -> LineageOut:
        """What a version was made from, and what was made from it."""
        return parsed(LineageOut, self._transport.call("GET", f"{_path(name)}/versions/{version}/lineage"))

    def promote(self, name: str, version: int, alias: str) -> None:
        """Let ``alias`` name this version from now on."""
        self._transport.call("PUT", f"{_path(name)}/aliases/{quote(alias, safe='')}", body=AliasIn(version=version))

    def demote(self, name: str, alias: str) -> None:
        """Remove an alias."""
        self._transport.call("DELETE", f"{_path(name)}/aliases/{quote(alias, safe='')}")

    def delete(self, name: str, version: int) -> None:
        """Remove a version; ProblemError 409 naming what depends on it."""
        self._transport.call("DELETE", f"{_path(name)}/versions/{version}")

    def import_weights(self, submission: ModelImportSubmission) -> JobOut:
        """Queue the import of weights that were uploaded as a blob."""
        return parsed(JobOut, self._transport.call("POST", "/v1/models/import", body=submission))

    def download(self, name: str, version: int, artifact: str, to: Path, *, on_progress: Progress | None = None) -> Path:
        """Save one file of a version as ``to``, which appears only when it is complete."""
        path = f"{_path(name)}/versions/{version}/artifacts/{quote(artifact)}"
        with self._transport.stream("GET", path) as answer:
            return save_stream(answer, to, on_progress=on_progress)


def _path(name: str) -> str:
    return f"/v1/models/{quote(name, safe='')}"
