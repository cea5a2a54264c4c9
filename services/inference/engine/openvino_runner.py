"""OpenVINO as an engine. A module of its own, since the package need not be installed."""

import threading
from pathlib import Path

import numpy as np
import openvino

from services.inference.engine.runners import Inputs, Logits
from shared.contracts.serving import ServedConfig
from shared.picosam.errors import BadWeights


class OpenVinoRunner:
    """OpenVINO's CPU plugin in the precision that it chooses: bfloat16 where the processor has it.

    An infer request belongs to one thread at a time, so each thread makes its own.
    """

    def __init__(self, path: Path, config: ServedConfig, *, threads: int, processors: int) -> None:
        """BadWeights if the file is no network of ours."""
        core = openvino.Core()
        try:
            network = core.read_model(path)
            size = config.input_size
            network.reshape({network.inputs[0]: openvino.PartialShape([-1, 3, size, size])})
            # Streams are runs side by side; a lone run gets as many threads as one stream.
            options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
            self._beside = core.compile_model(network, "CPU", options)
            wide = options | {"INFERENCE_NUM_THREADS": processors}
            self._alone = core.compile_model(network, "CPU", wide) if processors > threads else self._beside
        except RuntimeError as exc:
            hint = "The version's artifact is damaged; register the model again."
            raise BadWeights(f"model.onnx cannot be run: {exc}"[:500], hint=hint) from exc
        self._mine = threading.local()

    def run(self, inputs: Inputs, *, alone: bool, keep: bool = True) -> Logits:
        """As ``Opened`` says."""
        name, compiled = ("alone", self._alone) if alone else ("beside", self._beside)
        request = getattr(self._mine, name, None)
        if request is None:
            request = compiled.create_infer_request()
            setattr(self._mine, name, request)
        request.infer({0: inputs}, share_inputs=True)
        if not keep:
            delattr(self._mine, name)
        # Copied: the next run of this thread writes into the same memory.
        logits: Logits = np.array(request.get_output_tensor(0).data, np.float32)
        return logits.reshape(len(inputs), *inputs.shape[2:])
