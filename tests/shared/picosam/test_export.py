import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from shared.picosam.export import ExportDisagrees, check_export, export_onnx
from shared.picosam.prompt import to_input


@pytest.fixture(scope="module")
def exported(trained_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export_onnx(trained_model, path)
    return path


def test_the_exported_file_computes_what_torch_computes(trained_model, exported):
    agreement = check_export(trained_model, exported)
    assert agreement.max_abs < 1e-4
    assert agreement.pixel_agreement > 0.9999
    assert agreement.windows == 24


@pytest.mark.parametrize("batch", [1, 3, 32])
def test_any_batch_size_runs(exported, batch):
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"window": np.zeros((batch, 3, 96, 96), dtype=np.float32)})
    assert logits.shape == (batch, 1, 96, 96)


def test_it_is_one_valid_file_that_says_what_it_takes(exported):
    network = onnx.load(str(exported), load_external_data=False)
    onnx.checker.check_model(network, full_check=True)
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    assert not any(tensor.external_data for tensor in network.graph.initializer)
    assert {prop.key: prop.value for prop in network.metadata_props}["input"] == "RGB, pixel/256"
    assert network.opset_import[0].version >= 17
    shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in network.graph.input]
    assert shapes == [["batch", 3, 96, 96]]


def test_the_input_goes_first_into_one_batchnorm_so_pixel_256_is_what_gets_quantized(exported):
    network = onnx.load(str(exported))
    takers = [node.op_type for node in network.graph.node if "window" in node.input]
    assert takers == ["BatchNormalization"]


def test_a_newer_opset_may_be_chosen(trained_model, tmp_path):
    export_onnx(trained_model, tmp_path / "m.onnx", opset=18)
    assert onnx.load(str(tmp_path / "m.onnx")).opset_import[0].version == 18


def test_an_older_opset_is_refused(trained_model, tmp_path):
    with pytest.raises(ValueError, match="at least 17, got 16"):
        export_onnx(trained_model, tmp_path / "m.onnx", opset=16)


def test_a_file_with_other_weights_is_never_passed(trained_model, exported):
    with torch.no_grad():
        before = trained_model.output_head.bias.clone()
        trained_model.output_head.bias += 1e-3
        try:
            with pytest.raises(ExportDisagrees, match=r"logits by up to 0\.00"):
                check_export(trained_model, exported)
        finally:
            trained_model.output_head.bias.copy_(before)


def test_export_and_check_leave_the_models_mode_alone(trained_model, tmp_path):
    trained_model.train()
    export_onnx(trained_model, tmp_path / "m.onnx")
    check_export(trained_model, tmp_path / "m.onnx")
    assert trained_model.training
    trained_model.eval()


def test_a_failed_export_leaves_the_old_file_and_no_rubbish(trained_model, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        export_onnx(trained_model, path, size=90)  # not a multiple of 16
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_windows_become_pixel_256_channels_first():
    windows = np.zeros((2, 96, 96, 3), dtype=np.uint8)
    windows[1, 2, 3] = (64, 128, 255)
    taken = to_input(windows)
    assert taken.dtype == np.float32
    assert taken[1, :, 2, 3].tolist() == [0.25, 0.5, 255 / 256]
