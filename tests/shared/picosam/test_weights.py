"""Our own files come back bit for bit; foreign ones are loaded right or refused with words for a person."""

import contextlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save as dump_safetensors

from shared.contracts.imports import WeightsFormat
from shared.contracts.training import Recipe
from shared.picosam.errors import BadWeights
from shared.picosam.model import ARCHITECTURES, IMAGENET_MEAN, IMAGENET_STD, build_model
from shared.picosam.weights import MAX_BYTES, ModelConfig, load_any, load_weights, save_weights
from tests.shared.picosam.conftest import lived_in

STATE_DICT, SAFETENSORS = WeightsFormat.STATE_DICT, WeightsFormat.SAFETENSORS
WINDOWS = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def published(trained_model):
    """A state dict as the published code saves it: no inner normalisation."""
    return {name: tensor for name, tensor in trained_model.state_dict().items() if not name.startswith("input_norm")}


def saved(content, path):
    torch.save(content, path)
    return path


def logits(model, windows=WINDOWS):
    with torch.inference_mode():
        return model(windows)


def refusal(path, weights_format=STATE_DICT, **options):
    with pytest.raises(BadWeights) as refused:
        load_any(path, weights_format, **options)
    assert refused.value.hint.endswith((".", ")"))
    return str(refused.value)


# Our own file


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_comes_back_from_our_own_file_and_from_a_published_state_dict(architecture, tmp_path):
    model = lived_in(build_model(architecture, seed=7))
    save_weights(model, tmp_path / "own", ModelConfig(architecture=architecture))
    assert torch.equal(logits(load_weights(tmp_path / "own")[0]), logits(model))
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("input_norm")}
    taken = load_any(saved(state, tmp_path / "theirs"), STATE_DICT, architecture=architecture, input_scale="imagenet")
    assert torch.equal(logits(taken), logits(model))


def test_weights_of_another_architecture_are_refused_with_the_names_that_differ(tmp_path):
    state = build_model("picosam3", seed=7).state_dict()
    said = refusal(saved(state, tmp_path / "m"))
    assert "unknown: bottleneck.0.0.weight" in said
    assert "missing: bottleneck.0.weight" in said
    assert "has shape [48, 3, 1, 1], this network needs [72, 3, 1, 1]" in refusal(
        saved(build_model("picosam2", seed=7).state_dict(), tmp_path / "n"), architecture="picosam2_wide"
    )


def test_our_own_file_comes_back_bit_for_bit_with_its_configuration(trained_model, tmp_path):
    config = ModelConfig(recipe=Recipe(samples=123))
    save_weights(trained_model, tmp_path / "model.safetensors", config)
    model, found = load_weights(tmp_path / "model.safetensors")
    assert found == config
    assert not model.training
    assert torch.equal(logits(model), logits(trained_model))
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_unknown_fields_of_a_newer_configuration_are_ignored(trained_model, tmp_path):
    content = dump_safetensors(trained_model.state_dict(), metadata={"config": json.dumps({"format": 1, "new": 2})})
    (tmp_path / "m").write_bytes(content)
    assert load_weights(tmp_path / "m")[1] == ModelConfig()


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "carries no model configuration"),
        ({"config": "{"}, "cannot be read"),
        ({"config": '{"format": 2}'}, "cannot be read"),
    ],
)
def test_our_loader_wants_a_configuration(trained_model, tmp_path, metadata, said):
    (tmp_path / "m").write_bytes(dump_safetensors(trained_model.state_dict(), metadata=metadata))
    with pytest.raises(BadWeights, match=said):
        load_weights(tmp_path / "m")


@pytest.mark.parametrize("step", ["os.fsync", "Path.replace"])
def test_a_save_that_fails_at_any_step_keeps_the_old_file(trained_model, tmp_path, monkeypatch, step):
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"shared.picosam.weights.{step}", no_space)
    with pytest.raises(OSError, match="No space left"):
        save_weights(trained_model, path, ModelConfig())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# Foreign files that are fine


def test_published_weights_get_imagenets_normalisation_inside(trained_model, published, tmp_path):
    model = load_any(saved(published, tmp_path / "m.pt"), STATE_DICT, input_scale="imagenet")
    torch.testing.assert_close(logits(model), logits(trained_model), rtol=1e-5, atol=1e-5)


def test_weights_for_pixel_256_get_a_normalisation_that_changes_nothing(published, tmp_path):
    model = load_any(saved(published, tmp_path / "m.pt"), STATE_DICT, input_scale="pixel/256")
    torch.testing.assert_close(model.get_submodule("input_norm")(WINDOWS), WINDOWS, rtol=0, atol=1e-7)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 / 256 for values in (IMAGENET_MEAN, IMAGENET_STD))
    other = load_any(tmp_path / "m.pt", STATE_DICT, input_scale="imagenet")
    torch.testing.assert_close(logits(model, (WINDOWS - mean) / std), logits(other), rtol=1e-4, atol=1e-4)


def test_an_inner_normalisation_in_the_file_is_kept_whatever_the_scale_says(trained_model, tmp_path):
    state = {name: tensor.clone() for name, tensor in trained_model.state_dict().items()}
    state["input_norm.running_mean"] += 0.25
    path = saved(state, tmp_path / "m.pt")
    means = [load_any(path, STATE_DICT, input_scale=scale).input_norm.running_mean for scale in ("imagenet", "pixel/256")]
    assert all(torch.equal(mean, state["input_norm.running_mean"]) for mean in means)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_taken_off(trained_model, tmp_path, prefix):
    state = {prefix + name: tensor for name, tensor in trained_model.state_dict().items()}
    assert torch.equal(logits(load_any(saved(state, tmp_path / "m.pt"), STATE_DICT)), logits(trained_model))


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_training_checkpoint_around_the_weights_is_opened(trained_model, tmp_path, wrapper):
    path = saved({wrapper: trained_model.state_dict(), "epoch": 3}, tmp_path / "m.pt")
    assert torch.equal(logits(load_any(path, STATE_DICT)), logits(trained_model))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_become_float32(trained_model, tmp_path, dtype):
    state = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in trained_model.state_dict().items()
    }
    (tmp_path / "m").write_bytes(dump_safetensors(state))
    model = load_any(tmp_path / "m", SAFETENSORS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(model), logits(trained_model), rtol=0.1, atol=0.2)


def test_counters_of_batches_may_be_missing(trained_model, tmp_path):
    state = {name: tensor for name, tensor in trained_model.state_dict().items() if not name.endswith("num_batches_tracked")}
    (tmp_path / "m").write_bytes(dump_safetensors(state))
    assert torch.equal(logits(load_any(tmp_path / "m", SAFETENSORS)), logits(trained_model))


# Foreign files that are not


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("run-by-a-pickle"),))


def test_code_in_a_pickle_is_refused_and_not_run(published, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(saved(published | {"x": Hostile()}, tmp_path / "m.pt"))
    assert "Python code" in said
    assert not (tmp_path / "run-by-a-pickle").exists()


def test_a_whole_pickled_model_is_refused(trained_model, tmp_path):
    assert "Python code" in refusal(saved(trained_model, tmp_path / "m.pt"))


def test_a_bare_pickle_and_torchs_old_format_are_refused_unread(published, tmp_path):
    (tmp_path / "bare").write_bytes(pickle.dumps(Hostile()))
    assert "not a whole PyTorch file" in refusal(tmp_path / "bare")
    torch.save(published, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert "not a whole PyTorch file" in refusal(tmp_path / "old")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(MAX_BYTES + 1))
    assert (tmp_path / "m.pt").stat().st_size < MAX_BYTES / 100
    assert "unpacks to" in refusal(tmp_path / "m.pt")


def test_a_huge_file_is_refused_unread(tmp_path):
    with (tmp_path / "m").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert all("at most 67108864 are read" in refusal(tmp_path / "m", kind) for kind in WeightsFormat)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "m").touch()
    assert all("empty" in refusal(tmp_path / "m", kind) for kind in WeightsFormat)


def test_an_unknown_architecture_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"x")
    assert "there are: picosam2" in refusal(tmp_path / "m", architecture="picosam9")


@pytest.mark.parametrize("content", [[1, 2], "text", 7, {1: torch.zeros(1)}, torch.zeros(3)])
def test_what_is_no_dict_of_tensors_is_refused(tmp_path, content):
    assert "not a dict of tensors" in refusal(saved(content, tmp_path / "m.pt"))


def changed(published, name, tensor):
    return {**published, name: tensor}


HEAD = "output_head.weight"


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.zeros(1, 41, 1, 1), r"has shape [1, 41, 1, 1], this network needs [1, 40, 1, 1]"),
        (torch.zeros(1).expand(10**12), r"has shape [1000000000000]"),
        (torch.full((1, 40, 1, 1), float("nan")), "NaN or infinite"),
        (torch.full((1, 40, 1, 1), float("inf")), "NaN or infinite"),
        (torch.full((1, 40, 1, 1), 1e300, dtype=torch.float64), "NaN or infinite"),
        (torch.zeros(1, 40, 1, 1, dtype=torch.int8), "holds torch.int8"),
        (torch.zeros(1, 40, 1, 1, dtype=torch.complex64), "holds torch.complex64"),
        (torch.zeros(1, 40, 1, 1).to_sparse(), "not a plain tensor"),
        (torch.zeros(1, 40, 1, 1, device="meta"), "not a plain tensor"),
        ("text", "not a plain tensor"),
        (None, "not a plain tensor"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(published, tmp_path, tensor, said):
    found = refusal(saved(changed(published, HEAD, tensor), tmp_path / "m.pt"), input_scale="imagenet")
    assert found.startswith(HEAD)
    assert said in found


def test_a_negative_variance_is_refused(published, tmp_path):
    state = changed(published, "bottleneck.1.running_var", torch.full((256,), -1.0))
    assert "negative variances" in refusal(saved(state, tmp_path / "m.pt"))


def test_finite_weights_that_overflow_are_refused(published, tmp_path):
    state = changed(published, HEAD, torch.full((1, 40, 1, 1), 3e38))
    assert "output is not finite" in refusal(saved(state, tmp_path / "m.pt"), input_scale="imagenet")


def test_missing_and_unknown_names_are_listed_in_short(published, tmp_path):
    state = {name: tensor for name, tensor in published.items() if not name.startswith(("bottleneck", "up"))}
    said = refusal(saved(state | {"fc.weight" * 1000: torch.zeros(1)}, tmp_path / "m.pt"))
    assert "missing: bottleneck.0.weight" in said
    assert "more; unknown: fc.weight" in said
    assert len(said) < 600


@given(keep=st.floats(0.001, 0.999), weights_format=st.sampled_from([STATE_DICT, SAFETENSORS]))
@settings(max_examples=30)
def test_a_truncated_file_is_refused(trained_bytes, tmp_path_factory, keep, weights_format):
    content = trained_bytes[weights_format]
    path = tmp_path_factory.getbasetemp() / "truncated"
    path.write_bytes(content[: max(1, int(len(content) * keep))])
    assert "whole" in refusal(path, weights_format)


@given(
    weights_format=st.sampled_from([STATE_DICT, SAFETENSORS]), at=st.floats(0, 1), bits=st.integers(1, 255), head=st.booleans()
)
@settings(max_examples=60)
def test_a_damaged_byte_is_refused_or_harmless(trained_bytes, tmp_path_factory, weights_format, at, bits, head):
    content = bytearray(trained_bytes[weights_format])
    content[int(at * (2000 if head else len(content) - 1))] ^= bits
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    with contextlib.suppress(BadWeights):  # and nothing else may be raised
        assert torch.isfinite(logits(load_any(path, weights_format))).all()


@pytest.fixture(scope="module")
def trained_bytes(trained_model):
    buffer = io.BytesIO()
    torch.save(trained_model.state_dict(), buffer)
    return {STATE_DICT: buffer.getvalue(), SAFETENSORS: dump_safetensors(trained_model.state_dict())}


@pytest.mark.parametrize(
    "header",
    [
        {HEAD: {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}},
        {HEAD: {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**12]}},
        {HEAD: {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}},
        {HEAD: 3},
        [],
    ],
)
def test_a_lying_safetensors_header_is_refused(tmp_path, header):
    text = json.dumps(header).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    assert "not a whole safetensors file" in refusal(tmp_path / "m", SAFETENSORS)


def test_a_file_of_another_format_is_refused(tmp_path, trained_bytes):
    for kind, other in ((STATE_DICT, SAFETENSORS), (SAFETENSORS, STATE_DICT)):
        (tmp_path / "m").write_bytes(trained_bytes[other])
        assert "not a whole" in refusal(tmp_path / "m", kind)


def test_random_weights_of_the_right_shape_are_a_model(tmp_path):
    model = load_any(saved(build_model(seed=9).state_dict(), tmp_path / "m.pt"), STATE_DICT)
    assert not model.training
