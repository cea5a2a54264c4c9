"""The installed converter, and networks quantized for it; nothing of either is kept in the repository."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from shared.contracts.jobs import Progress
from shared.kit.toolchain.place import Place, State
from shared.kit.toolchain.settings import ToolchainSettings
from tests.workers.packaging import networks
from workers.packaging.conversion_log import LogLine
from workers.packaging.converter import Conversion, Limits, Options, convert


@pytest.fixture(scope="session")
def toolchain() -> Place:
    """The converter of this machine."""
    place = Place.of(ToolchainSettings())
    found = place.status()
    if found.state is not State.READY:
        pytest.skip(f"no converter in {place.folder} ({found.trouble or found.state}): run `make toolchain`")
    pytest.importorskip("model_compression_toolkit", reason="the quantization toolkit is not installed")
    return place


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Quantizes a network, once in a test run: ``network(TinyNet)``, ``network(WideNet, side=320)``."""
    folder, made = tmp_path_factory.mktemp("networks"), dict[str, Path]()

    def make(kind: Callable[[], nn.Module], *, side: int = 96) -> Path:
        name = f"{kind.__name__}-{side}"
        if name not in made:
            made[name] = networks.quantized(kind, folder / f"{name}.onnx", side=side)
        return made[name]

    return make


USUAL = Limits(seconds=1200)
"""For machines that are ten times slower, or busy."""


class Conversions:
    """Runs conversions into folders of one test, and remembers what was reported."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.stages: list[Progress] = []
        self.lines: list[LogLine] = []
        self.stop: Callable[[], bool] = lambda: False

    def run(self, model: Path, *, limits: Limits = USUAL, **options: object) -> Conversion:
        target = self.folder / f"out{len(list(self.folder.iterdir()))}"
        return convert(
            self.place,
            model,
            target,
            network="network",
            layers=networks.TINY_LAYERS,
            options=Options(**options),  # type: ignore[arg-type]
            limits=limits,
            stop_requested=lambda: self.stop(),
            report=self.stages.append,
            say=self.lines.append,
        )

    @property
    def left_behind(self) -> list[str]:
        """What is in the folder, folders of unfinished conversions among it."""
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
def conversions(toolchain: Place, tmp_path: Path) -> Conversions:
    """A folder without anything in it."""
    (tmp_path / "conversions").mkdir()
    return Conversions(toolchain, tmp_path / "conversions")
