"""What versions are called."""

from dataclasses import replace

import pytest

from services.inference.engine.desk import Desk
from services.inference.engine.loaded import LoadedVersion
from services.inference.engine.served import Part, Served
from services.inference.oip.versions import VersionNotServed, metadata, names, pick
from shared.contracts.deployments import CpuTarget, Engine
from shared.contracts.serving import ServedConfig


def a_version(model, engine=Engine.ONNXRUNTIME):
    """One that is never run."""
    return LoadedVersion(model=model, engine=engine, config=ServedConfig(), card=None, runner=None, step=1, golden_iou=None)


@pytest.fixture
def desk():
    desk = Desk("street", parallel=1, max_queue=1)
    yield desk
    desk.close()


@pytest.fixture
def serving(desk):
    """A deployment of these versions in equal parts."""

    def make(*versions):
        spec = CpuTarget.model_validate({"versions": [{"model": "picosam2/1"}]})
        parts = tuple(Part(version, 100 // len(versions)) for version in versions)
        return Served(name="street", generation=1, spec=spec, parts=parts, desk=desk)

    return make


def test_versions_are_called_by_their_number_and_by_more_only_where_it_is_needed(serving):
    plain, newer, other = a_version("picosam2/3"), a_version("picosam2/4"), a_version("picosam2.int8/3")
    assert names(serving(plain)) == ["3"]
    assert names(serving(plain, newer)) == ["3", "4"]
    assert names(serving(plain, other)) == ["picosam2.3", "picosam2.int8.3"]
    assert names(serving(plain, a_version("picosam2/3", Engine.OPENVINO))) == ["3.onnxruntime", "3.openvino"]


def test_a_named_version_answers_and_of_none_they_take_turns(serving):
    served = serving(a_version("picosam2/3"), a_version("picosam2/4"))
    assert {pick(served, "4", None)[1].model for _ in range(20)} == {"picosam2/4"}
    assert {pick(served, "", None)[0] for _ in range(20)} == {"3", "4"}
    assert len({pick(served, "", "a customer")[0] for _ in range(20)}) == 1
    with pytest.raises(VersionNotServed, match="it has 3, 4"):
        pick(served, "5", None)


def test_the_description_is_of_the_version_that_is_asked_for(serving):
    large = replace(a_version("picosam2/4", Engine.OPENVINO), config=ServedConfig(input_size=128))
    served = serving(a_version("picosam2/3"), large)
    assert metadata(served, "")["inputs"][0]["shape"] == [-1, 3, 96, 96]
    assert metadata(served, "4")["inputs"][0]["shape"] == [-1, 3, 128, 128]
    assert metadata(served, "4")["platform"] == "openvino_onnx"
