"""Checkpoints of SAM: the published form is read, everything else is refused with what to do."""

import hashlib
import pickle
import zipfile

import pytest
import torch

from shared.contracts.distillation import SamSize
from shared.picosam.errors import BadWeights
from shared.picosam.teachers.sam import build_sam, load_sam
from shared.picosam.teachers.sam_weights import fill, read_checkpoint, size_of


@pytest.fixture(scope="module")
def network():
    return build_sam(SamSize.TINY)


@pytest.fixture
def state(network):
    return dict(network.state_dict())


def digest_of(path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.fixture
def saved(tmp_path):
    def save(content):
        path = tmp_path / "checkpoint.pt"
        torch.save(content, path)
        return path, digest_of(path)

    return save


def test_a_checkpoint_as_published_becomes_a_teacher(saved, state):
    state["no_mem_embed"] = torch.full_like(state["no_mem_embed"], 0.25)
    path, digest = saved({"model": state})
    teacher = load_sam(path, SamSize.TINY, digest=digest)
    assert teacher._network.state_dict()["no_mem_embed"].unique().tolist() == [0.25]


def test_another_file_than_the_job_names_is_refused_naming_both_digests(saved):
    path, digest = saved({"model": {}})
    with pytest.raises(BadWeights, match=rf"is {digest}, and not sha256:0") as refused:
        read_checkpoint(path, "sha256:" + "0" * 64)
    assert "teacher.checkpoint" in refused.value.hint


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('the code in the pickle ran')",)


def test_a_pickle_with_code_is_never_run(saved, state):
    path, digest = saved({"model": state, "extra": Evil()})
    with pytest.raises(BadWeights, match="as Python code to be run on loading"):
        read_checkpoint(path, digest)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", pickle.dumps(Evil())], ids=["empty", "text", "bare pickle"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(BadWeights, match=r"has 0 bytes|not a whole PyTorch file"):
        read_checkpoint(path, digest_of(path))


def test_a_cut_off_file_is_refused(saved):
    path, _ = saved({"model": {"a": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadWeights, match="not a whole PyTorch file"):
        read_checkpoint(path, digest_of(path))


def test_a_file_that_unpacks_to_more_than_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("shared.picosam.teachers.sam_weights.MAX_BYTES", 10_000)
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(1_000_000))
    with pytest.raises(BadWeights, match="unpacks to 1000000 bytes; at most 10000"):
        read_checkpoint(path, digest_of(path))


@pytest.mark.parametrize("content", [[1, 2], {1: torch.zeros(1)}, {"model": 3}], ids=["list", "numbers", "no tensors"])
def test_contents_that_are_no_state_dict_are_refused(saved, network, content):
    path, digest = saved(content)
    with pytest.raises(BadWeights, match=r"not a dict of tensors|of another network"):
        fill(network, read_checkpoint(path, digest), SamSize.TINY)


def test_a_checkpoint_of_another_size_is_refused_by_name(state):
    larger = build_sam(SamSize.SMALL)
    with pytest.raises(BadWeights, match=r"is of SAM 2\.1 tiny, and the teacher's size is small") as refused:
        fill(larger, state, SamSize.SMALL)
    assert "picofleet teachers fetch sam2.1-small" in refused.value.hint


@pytest.mark.parametrize("size", list(SamSize))
def test_each_size_is_known_by_its_blocks(size):
    assert size_of(build_sam(size).state_dict()) is size


def test_a_checkpoint_of_the_first_sam_2_is_refused_by_name(network, state):
    del state["no_obj_embed_spatial"]
    with pytest.raises(BadWeights, match=r"is of SAM 2, and the teacher is SAM 2\.1"):
        fill(network, state, SamSize.TINY)


def test_weights_of_another_network_are_refused(network):
    with pytest.raises(BadWeights, match="is of another network"):
        fill(network, {"encoder_stage1.0.weight": torch.zeros(3)}, SamSize.TINY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda found: found[:1], "has shape"),
        (lambda found: found.to(torch.int64), r"holds torch\.int64"),
        (lambda found: torch.full_like(found, torch.nan), "NaN or infinite"),
        (lambda _: 3, "not a plain tensor"),
    ],
    ids=["shape", "integers", "nan", "number"],
)
def test_a_wrong_tensor_is_refused_by_name(network, state, wrong, message):
    name = "sam_mask_decoder.mask_tokens.weight"
    state[name] = wrong(state[name])
    with pytest.raises(BadWeights, match=rf"{name}.*{message}"):
        fill(network, state, SamSize.TINY)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_missing_and_unknown_tensors_are_refused_by_name(network, state, change):
    if change == "missing":
        del state["no_mem_embed"]
    else:
        state["no_mem_embed2"] = state["no_mem_embed"]
    with pytest.raises(BadWeights, match=r"(1 tensors missing, 0 unknown|0 tensors missing, 1 unknown), such as no_mem_embed"):
        fill(network, state, SamSize.TINY)
