"""The folder we write by hand, judged by MLflow."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from shared.kit.environment import environment_report
from shared.kit.model_folder import TensorSpec, describe_model_folder

INPUT, OUTPUT = TensorSpec("window", (-1, 3, 8, 8)), TensorSpec("logits", (-1, 3, 8, 8))

# In a process of its own: importing mlflow costs two seconds and warns about other packages' deprecations.
JUDGE = """
import sys, json, numpy as np, yaml, mlflow, mlflow.onnx, onnx
from pathlib import Path
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
ours, theirs = Path(sys.argv[1]), Path(sys.argv[2])
spec = lambda name: Schema([TensorSpec(np.dtype("float32"), (-1, 3, 8, 8), name)])
example = {"window": np.full((1, 3, 8, 8), 0.5, np.float32)}
mlflow.onnx.save_model(onnx.load(ours / "model.onnx"), theirs, signature=ModelSignature(spec("window"), spec("logits")),
    input_example=example, pip_requirements=["onnx"])
load = lambda folder: yaml.safe_load((folder / "MLmodel").read_text())
model = mlflow.pyfunc.load_model(str(ours))
saved = model.input_example
answer = model.predict(saved)
print(json.dumps({
    "signatures_equal": Model.load(str(ours)).signature == Model.load(str(theirs)).signature,
    "flavors_equal": load(ours)["flavors"] == load(theirs)["flavors"],
    "missing": sorted(set(load(theirs)) - set(load(ours)) - {"model_id", "prompts"}),
    "files_missing": sorted({f.name for f in theirs.iterdir()} - {f.name for f in ours.iterdir()}),
    "example_equal": bool(np.array_equal(saved["window"], example["window"])),
    "answer": [list(answer["logits"].shape), float(answer["logits"].max())],
    "metadata": Model.load(str(ours)).metadata,
}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    tensors = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, ["batch", *t.shape[1:]]) for t in (INPUT, OUTPUT)]
    graph = helper.make_graph([helper.make_node("Neg", ["window"], ["logits"])], "g", tensors[:1], tensors[1:])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(network, str(made / "model.onnx"))
    return made


def described(folder: Path, **overrides: object) -> None:
    wanted = {
        "inputs": INPUT,
        "outputs": OUTPUT,
        "example": np.full((1, 3, 8, 8), 0.5, np.float32),
        "facts": {"colour": "it's: {red}"},
    }
    describe_model_folder(folder, **(wanted | overrides))  # type: ignore[arg-type]


@pytest.mark.slow
def test_mlflow_loads_it_and_would_have_written_the_same(folder, tmp_path):
    described(folder)
    command = [sys.executable, "-W", "ignore", "-c", JUDGE, str(folder), str(tmp_path / "theirs")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == {
        "signatures_equal": True,
        "flavors_equal": True,
        "missing": [],
        "files_missing": [],
        "example_equal": True,
        "answer": [[1, 3, 8, 8], -0.5],
        "metadata": {"colour": "it's: {red}"},
    }


@pytest.mark.parametrize(
    "example", [np.zeros((1, 3, 9, 8), np.float32), np.zeros((1, 3, 8, 8)), np.zeros((3, 8, 8), np.float32)]
)
def test_an_example_that_does_not_fit_is_refused(folder, example):
    with pytest.raises(ValueError, match="the signature says"):
        described(folder, example=example)


def test_requirements_are_exact_and_without_build_tags(folder):
    described(folder)
    lines = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in lines} == {"mlflow", "onnx", "onnxruntime", "numpy"}
    assert all("==" in line and "+" not in line for line in lines)


def test_the_environment_names_packages_and_python():
    report = environment_report()
    assert {"python", "platform", "cores"} <= set(report)
    assert report["packages"]["onnx"] == onnx.__version__
