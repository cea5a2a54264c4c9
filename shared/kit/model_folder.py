"""Makes a folder with a model.onnx into an MLflow model, which `mlflow.pyfunc` and the MLflow UI understand.

Written by hand, not with `mlflow.onnx.save_model`: that needs mlflow and pandas in every worker, 2 s and 150 MB, for six small
text files. A test loads the folder with MLflow itself and compares it with what MLflow writes.
"""

import json
import platform
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FORMAT_VERSION: Final = "3.17.2"
"""The MLflow whose model format this is: written into MLmodel and pinned among the requirements."""

_RUNTIME: Final = ("onnx", "onnxruntime", "numpy")

_MLMODEL: Final = """\
flavors:
  onnx:
    code: null
    data: {network}
    onnx_session_options: null
    onnx_version: {onnx_version}
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: {network}
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.onnx
    python_version: {python}
is_signature_from_type_hint: false
metadata: {metadata}
mlflow_version: {mlflow}
model_size_bytes: {size_bytes}
model_uuid: {uuid}
saved_input_example_info:
  artifact_path: input_example.json
  serving_input_path: serving_input_example.json
  type: ndarray
signature:
  inputs: '{inputs}'
  outputs: '{outputs}'
  params: null
type_hint_from_example: false
utc_time_created: '{created}'
"""

_CONDA: Final = """\
channels:
- conda-forge
dependencies:
- python={python}
- pip
- pip:
{requirements}
name: mlflow-env
"""

_PYTHON_ENV: Final = """\
python: {python}
build_dependencies:
- pip
- setuptools
- wheel
dependencies:
- -r requirements.txt
"""


class TensorSpec(NamedTuple):
    """A float32 tensor of the signature; -1 stands for any length, as of the batch."""

    name: str
    shape: tuple[int, ...]


def describe_model_folder(
    folder: Path,
    *,
    inputs: TensorSpec,
    outputs: TensorSpec,
    example: NDArray[np.float32],
    facts: Mapping[str, str],
    network: str = "model.onnx",
) -> None:
    """Write MLmodel, the pinned requirements and the input example beside ``network``.

    ``example``: an input as ``inputs`` says. ``facts`` go into MLmodel's metadata. ValueError if the example does not fit.
    """
    if not _fits(example, inputs):
        raise ValueError(f"the example is {example.dtype} {example.shape}, the signature says float32 {inputs.shape}")
    feed = {inputs.name: example.tolist()}
    (folder / "input_example.json").write_text(json.dumps(feed))
    (folder / "serving_input_example.json").write_text(json.dumps({"inputs": feed}))
    requirements = [f"mlflow=={FORMAT_VERSION}", *_pins(_RUNTIME)]
    (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
    python, lines = platform.python_version(), "\n".join(f"  - {line}" for line in requirements)
    (folder / "conda.yaml").write_text(_CONDA.format(python=python, requirements=lines))
    (folder / "python_env.yaml").write_text(_PYTHON_ENV.format(python=python))
    (folder / "MLmodel").write_text(_mlmodel(folder, network, inputs, outputs, facts))


def _mlmodel(folder: Path, network: str, inputs: TensorSpec, outputs: TensorSpec, facts: Mapping[str, str]) -> str:
    return _MLMODEL.format(
        network=network,
        onnx_version=metadata.version("onnx"),
        python=platform.python_version(),
        metadata=json.dumps(dict(facts)),  # JSON is YAML
        mlflow=FORMAT_VERSION,
        size_bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        uuid=uuid.uuid4().hex,
        inputs=_schema(inputs),
        outputs=_schema(outputs),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    )


def _schema(tensor: TensorSpec) -> str:
    spec = {"dtype": "float32", "shape": list(tensor.shape)}
    return json.dumps([{"name": tensor.name, "type": "tensor", "tensor-spec": spec}])


def _fits(example: NDArray[np.float32], tensor: TensorSpec) -> bool:
    same_rank = example.ndim == len(tensor.shape)
    lengths = zip(example.shape, tensor.shape, strict=False)
    return example.dtype == np.float32 and same_rank and all(wanted in (-1, found) for found, wanted in lengths)


def _pins(packages: Sequence[str]) -> list[str]:
    return [f"{package}=={metadata.version(package).partition('+')[0]}" for package in packages]
