import errno
import json

import pytest
import torch

from shared.picosam import checkpoint
from shared.picosam.checkpoint import CheckpointError
from shared.picosam.state import Best, new_state


@pytest.fixture
def state(a_recipe, one_thread):
    return new_state(a_recipe(), one_thread)


def fill_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_half_written(state, a_recipe, tmp_path, monkeypatch):
    old = checkpoint.save(state, a_recipe(), tmp_path)
    state.step = 5
    monkeypatch.setattr(checkpoint, "save_file", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(state, a_recipe(), tmp_path)
    assert list(tmp_path.iterdir()) == [old]


def test_the_same_step_may_be_saved_again(state, a_recipe, tmp_path):
    first = checkpoint.save(state, a_recipe(), tmp_path)
    assert checkpoint.save(state, a_recipe(), tmp_path) == first
    checkpoint.restore(state, a_recipe(), first)


def test_the_newest_is_found_and_old_ones_are_pruned(state, a_recipe, tmp_path):
    assert checkpoint.newest(tmp_path) is None
    for state.step in (9, 10, 200):
        checkpoint.save(state, a_recipe(), tmp_path)
    checkpoint.prune(tmp_path, keep=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000000010", "step-000000200"]
    assert checkpoint.newest(tmp_path) == tmp_path / "step-000000200"


def test_a_checkpoint_of_another_recipe_is_refused_by_name(state, a_recipe, tmp_path):
    path = checkpoint.save(state, a_recipe(), tmp_path)
    with pytest.raises(CheckpointError, match="these differ: learning_rate, seed"):
        checkpoint.restore(state, a_recipe(learning_rate=0.5, seed=3), path)


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.EMA, checkpoint.OPTIMIZER, checkpoint.STATE])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_checkpoint_is_refused(name, damage, state, a_recipe, tmp_path):
    path = checkpoint.save(state, a_recipe(), tmp_path)
    if damage == "missing":
        (path / name).unlink()
    else:
        (path / name).write_bytes((path / name).read_bytes()[: (path / name).stat().st_size // 2])
    if damage == "cut" and name == checkpoint.OPTIMIZER:
        return  # before the first step AdamW holds nothing: half of an empty file is covered by the others
    with pytest.raises(CheckpointError, match="step-000000000 cannot be read"):
        checkpoint.restore(state, a_recipe(), path)


def test_a_checkpoint_of_a_later_format_is_refused(state, a_recipe, tmp_path):
    path = checkpoint.save(state, a_recipe(), tmp_path)
    header = json.loads((path / checkpoint.STATE).read_text()) | {"format": 2}
    (path / checkpoint.STATE).write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="format 2, this version reads 1"):
        checkpoint.restore(state, a_recipe(), path)


def test_the_best_average_and_the_patience_used_up_are_kept(state, a_recipe, one_thread, tmp_path):
    recipe = a_recipe(early_stop_patience=5)
    state.best = Best(score=0.41, step=20, weights={"w": torch.arange(3.0)})
    state.evaluations_without_better = 2
    path = checkpoint.save(state, recipe, tmp_path)
    later = new_state(recipe, one_thread)
    checkpoint.restore(later, recipe, path)
    assert (later.best.score, later.best.step, later.evaluations_without_better) == (0.41, 20, 2)
    assert later.best.weights["w"].equal(torch.arange(3.0))
