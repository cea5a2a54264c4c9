"""The task as a model of MLflow, from code as its documentation recommends; run as a program it saves the model."""

import base64
import sys
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

from tests.bench.peers.task import open_network, segment


class Segment(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        self.session = open_network(context.artifacts["network"], threads=1)

    def predict(self, context: PythonModelContext, model_input: Any, params: Any = None) -> list[dict[str, Any]]:  # noqa: ARG002
        rows = model_input.itertuples(index=False)
        return [segment(self.session, base64.b64decode(row.image), int(row.x), int(row.y)) for row in rows]


if __name__ == "__main__":
    network, folder = sys.argv[1:]
    mlflow.pyfunc.save_model(folder, python_model=__file__, artifacts={"network": network}, pip_requirements=[])
else:
    mlflow.models.set_model(Segment())
