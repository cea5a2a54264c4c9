"""What computes a network: ONNX Runtime, or another engine behind the same small interface."""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.inference.engine.errors import EngineMissing
from shared.contracts.deployments import Engine
from shared.contracts.serving import ServedConfig
from shared.picosam.onnx_session import open_session

Inputs = NDArray[np.float32]
"""[N, 3, S, S] in pixel/256."""
Logits = NDArray[np.float32]
"""[N, S, S]; above 0 is object."""

_GIVING_BACK: Final = onnxruntime.RunOptions()
_GIVING_BACK.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")


class Runner(Protocol):
    """A network, ready to run. ``run`` may be called by several threads at once."""

    def run(self, inputs: Inputs, *, alone: bool) -> Logits:
        """``alone``: nothing else runs now, so all processors may be used for this."""
        ...


class Opened(Runner, Protocol):
    """A runner that is to be tried before it is used."""

    def run(self, inputs: Inputs, *, alone: bool, keep: bool = True) -> Logits:
        """``keep``: the memory that the run takes stays for the next one; False gives back what earlier runs kept too."""
        ...


class OnnxRuntimeRunner:
    """ONNX Runtime's CPU provider: one session for runs side by side, and one that spreads a lone run over all processors."""

    def __init__(self, path: Path, config: ServedConfig, *, threads: int, processors: int) -> None:
        """BadWeights if the file is no network of ours."""
        self._beside = open_session(path, quantization=config.quantization, threads=threads)
        wide = processors > threads
        self._alone = open_session(path, quantization=config.quantization, threads=processors) if wide else self._beside
        self._input, self._output = self._beside.get_inputs()[0].name, self._beside.get_outputs()[0].name

    def run(self, inputs: Inputs, *, alone: bool, keep: bool = True) -> Logits:
        """As ``Opened`` says."""
        session = self._alone if alone else self._beside
        (logits,) = session.run([self._output], {self._input: inputs}, None if keep else _GIVING_BACK)
        found: Logits = logits.reshape(len(inputs), *inputs.shape[2:])
        return found


def open_runner(engine: Engine, path: Path, config: ServedConfig, *, threads: int, processors: int) -> Opened:
    """BadWeights for a damaged network, EngineMissing for an engine that is not installed here."""
    if engine is Engine.ONNXRUNTIME:
        return OnnxRuntimeRunner(path, config, threads=threads, processors=processors)
    try:
        from services.inference.engine.openvino_runner import OpenVinoRunner
    except ImportError as exc:
        raise EngineMissing("OpenVINO is not installed here.", hint="pip install 'picofleet[openvino]'") from exc
    return OpenVinoRunner(path, config, threads=threads, processors=processors)
