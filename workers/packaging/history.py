"""What is known of the network that is packaged: its version and those that it was made from, as the registry has them."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from shared.contracts.tags import PARENT_VERSION_TAG
from shared.contracts.worker import ModelGrant
from shared.kit.mlflow_api import MlflowApi, MlflowMissing
from shared.kit.toolchain.contents import normalised
from workers.harness.context import JobContext

GENERATIONS: Final = 8
PICTURES: Final = ("quantization/hit_rate.png", "quantization/noise.png")
"""Of the quantization's run."""
_ENVIRONMENT: Final = "config/environment.json"
_MAX_PICTURE_BYTES: Final = 1024**2
_PARENT: Final = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,127})/(?P<version>[0-9]{1,9})")
_DATA: Final = re.compile(r"(?P<name>[^/@, ]+)/(?P<split>[^/@, ]+)@(?P<digest>sha256:[0-9a-f]{64})")
_ROLES: Final = ("train", "calibration", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A split that a network was made with."""

    role: str
    """train, calibration or validation."""
    name: str
    """dataset/split."""
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A registered version with its run."""

    name: str
    """name/version."""
    description: str
    tags: dict[str, str]
    figures: dict[str, float]
    """The run's newest, by name."""
    parameters: dict[str, str]

    @property
    def data(self) -> list[Data]:
        """What it was made with, each once in a role."""
        return list(dict.fromkeys(found for role in _ROLES for found in self._data(role)))

    def _data(self, role: str) -> Iterator[Data]:
        for found in _DATA.finditer(self.tags.get(f"picofleet.{role}", "")):
            yield Data(role=role, name=f"{found['name']}/{found['split']}", digest=found["digest"])


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The quantized version first, then what it was made from, back to where networks were trained."""

    versions: tuple[Version, ...]
    pictures: dict[str, Path]
    """By name, as hit_rate."""
    packages: dict[str, str]
    """What was installed where it was quantized: versions by name, as registries compare names."""

    @property
    def quantized(self) -> Version:
        """The version that is packaged."""
        return self.versions[0]

    @property
    def data(self) -> list[Data]:
        """All of them."""
        return list(dict.fromkeys(each for version in self.versions for each in version.data))


def read_history(ctx: JobContext, grant: ModelGrant) -> History:
    """Ask MLflow. What is missing of a version that somebody else registered is left out; MlflowAway if nobody answers."""
    with MlflowApi(ctx.mlflow_url) as api:
        records = list(_records(api, grant))
        versions = tuple(_version(api, record) for record in records)
        run = _run(api, records[0])
        uri = run["info"]["artifact_uri"] if run else None
        folder = ctx.folder / "history"
        folder.mkdir(parents=True, exist_ok=True)
        pictures = _pictures(api, uri, folder) if uri else {}
        packages = _packages(api, uri, folder) if uri else {}
    return History(versions=versions, pictures=pictures, packages=packages)


def _records(api: MlflowApi, grant: ModelGrant) -> Iterator[dict[str, Any]]:
    name, number = grant.name, grant.version
    for _ in range(GENERATIONS):
        try:
            record = api.get_version(name, number)
        except MlflowMissing:
            return
        yield record
        parent = _PARENT.fullmatch(_tags(record).get(PARENT_VERSION_TAG, ""))
        if parent is None:
            return
        name, number = parent["name"], int(parent["version"])


def _version(api: MlflowApi, record: dict[str, Any]) -> Version:
    data = (_run(api, record) or {}).get("data", {})
    return Version(
        name=f"{record['name']}/{record['version']}",
        description=str(record.get("description", "")),
        tags=_tags(record),
        figures={each["key"]: float(each["value"]) for each in data.get("metrics", [])},
        parameters={each["key"]: each["value"] for each in data.get("params", [])},
    )


def _run(api: MlflowApi, record: dict[str, Any]) -> dict[str, Any] | None:
    run_id = record.get("run_id")
    with suppress(MlflowMissing):
        return api.get_run(run_id) if run_id else None
    return None


def _tags(record: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in record.get("tags", [])}


def _pictures(api: MlflowApi, uri: str, folder: Path) -> dict[str, Path]:
    found = ((Path(path).stem, _file(api, uri, path, folder)) for path in PICTURES)
    return {name: file for name, file in found if file is not None and file.stat().st_size <= _MAX_PICTURE_BYTES}


def _packages(api: MlflowApi, uri: str, folder: Path) -> dict[str, str]:
    file = _file(api, uri, _ENVIRONMENT, folder)
    try:
        found = json.loads(file.read_bytes())["packages"] if file is not None else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return {normalised(str(name)): str(version) for name, version in found.items()} if isinstance(found, dict) else {}


def _file(api: MlflowApi, uri: str, path: str, folder: Path) -> Path | None:
    target = folder / Path(path).name
    try:
        with api.download(uri, path) as download, target.open("wb") as file:
            for chunk in download.chunks:
                file.write(chunk)
    except MlflowMissing:
        return None
    return target


def digests(data: Sequence[Data], *roles: str) -> list[str]:
    """Of the data in these roles, each once, sorted."""
    return sorted({each.digest for each in data if each.role in roles})
