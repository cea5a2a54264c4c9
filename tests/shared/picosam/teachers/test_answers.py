"""Kept answers: complete after any interruption, and never those of somebody else."""

import json
import shutil

import numpy as np
import pytest

from shared.picosam.teachers.answers import AnswerReader, AnswersInvalid, AnswerWriter, Batch

CANVAS = 16
COUNT = 10
LOGITS = np.random.default_rng(0).normal(0, 5, (COUNT, CANVAS, CANVAS)).astype(np.float32)


def a_batch(first: int, last: int) -> Batch:
    numbers = np.arange(first, last)
    quality = (numbers / 10).astype(np.float32)
    return Batch(logits=LOGITS[first:last], quality=quality, iou=numbers / 20, seconds=float(last - first))


@pytest.fixture
def writer(tmp_path, asked):
    def make(folder="kept", **overrides):
        return AnswerWriter(tmp_path / folder, asked(**overrides), windows=COUNT, canvas=CANVAS, part_rows=4)

    return make


@pytest.fixture
def kept(tmp_path, writer):
    with writer() as writing:
        for first in range(0, COUNT, 5):
            writing.add(a_batch(first, first + 5))
        writing.finish()
    return tmp_path / "kept"


def test_answers_come_back_in_the_order_asked_for(kept, asked):
    reader = AnswerReader(kept, asked())
    logits, quality = reader.answers([9, 0, 5, 5])
    np.testing.assert_array_equal(logits, LOGITS[[9, 0, 5, 5]].astype(np.float16))
    np.testing.assert_allclose(quality, [0.9, 0, 0.5, 0.5])
    assert len(reader) == COUNT
    assert reader.quality.shape == (COUNT,)


def test_a_row_that_is_not_there_is_refused(kept, asked):
    with pytest.raises(IndexError, match="10 of 10"):
        AnswerReader(kept, asked()).answers([0, 10])


def test_cost_and_worth_are_over_all_windows(kept, asked):
    cost = AnswerReader(kept, asked()).cost
    assert cost.seconds == pytest.approx(COUNT)
    assert cost.windows_per_second == pytest.approx(1)
    assert cost.iou == pytest.approx(np.mean(np.arange(COUNT) / 20))


@pytest.mark.parametrize("killed_after", range(COUNT + 1))
def test_a_killed_writer_loses_no_answer(tmp_path, writer, asked, killed_after):
    with writer("running") as first:
        for number in range(killed_after):
            first.add(a_batch(number, number + 1))
        shutil.copytree(tmp_path / "running", tmp_path / "kept")  # what a kill leaves behind
    with writer() as second:
        assert second.done == killed_after
        if killed_after < COUNT:
            second.add(a_batch(killed_after, COUNT))
        second.finish()
    reader = AnswerReader(tmp_path / "kept", asked())
    np.testing.assert_array_equal(reader.answers(range(COUNT))[0], LOGITS.astype(np.float16))
    assert reader.cost.seconds == pytest.approx(COUNT)
    assert reader.cost.iou == pytest.approx(np.mean(np.arange(COUNT) / 20))


@pytest.mark.parametrize(("name", "kept_rows"), [("answers-00000.npy", 0), ("answers-00001.npy", 4), ("answers-00001.json", 4)])
def test_a_damaged_part_and_what_follows_are_made_anew(tmp_path, writer, name, kept_rows):
    with writer() as first:
        first.add(a_batch(0, 9))
    damage(tmp_path / "kept" / name)
    with writer() as second:
        assert second.done == kept_rows


def test_the_part_under_way_is_kept_up_to_the_first_damaged_answer(tmp_path, writer):
    with writer() as first:
        first.add(a_batch(0, 7))
    (unfinished,) = (tmp_path / "kept").glob("*.unfinished")
    content = bytearray(unfinished.read_bytes())
    content[len(content) // 2] ^= 1  # within the second of its three answers
    unfinished.write_bytes(content)
    with writer() as second:
        assert second.done == 5


def test_answers_of_another_teacher_in_the_folder_are_not_gone_on_with(writer):
    with writer() as first:
        first.add(a_batch(0, 7))
    with writer(teacher="sha256:other") as second:
        assert second.done == 0


def test_an_unfinished_folder_is_not_readable(tmp_path, writer, asked):
    with writer() as writing:
        writing.add(a_batch(0, 9))
        with pytest.raises(ValueError, match="1 of 10 answers are missing"):
            writing.finish()
    with pytest.raises(AnswersInvalid, match="holds no answers"):
        AnswerReader(tmp_path / "kept", asked())


@pytest.mark.parametrize("field", ["teacher", "dataset", "split", "shards", "view", "context_side"])
def test_answers_to_another_question_are_refused_naming_both(kept, asked, field):
    with pytest.raises(AnswersInvalid, match=rf"for {field} .*, wanted are those for other"):
        AnswerReader(kept, asked(**{field: "other"}))


def test_each_question_has_its_own_key(asked):
    changed = [asked(**{field: "other"}) for field in ("teacher", "dataset", "split", "shards", "view", "context_side")]
    keys = {each.key for each in [asked(), *changed]}
    assert len(keys) == 7
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("name", ["answers-00000.npy", "answers-00002.npy"])
def test_damaged_answers_are_refused_with_their_file_named(kept, asked, name):
    damage(kept / name)
    with pytest.raises(AnswersInvalid, match=f"{name} is damaged"):
        AnswerReader(kept, asked())


@pytest.mark.parametrize(
    "change",
    [{"windows": 11}, {"parts": []}, {"canvas": 24}, {"part_rows": "many"}, {"cost": {}}, {"code": 0}, {"asked": None}],
)
def test_a_description_that_does_not_fit_is_refused(kept, asked, change):
    meta = json.loads((kept / "meta.json").read_text()) | change
    (kept / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(AnswersInvalid, match="kept"):
        AnswerReader(kept, asked())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_not_kept(writer, value):
    batch = a_batch(0, 3)
    batch.logits[1, 2, 3], kept = value, batch.logits[1, 2, 3]
    with writer() as writing, pytest.raises(ValueError, match=r"windows 0 \.\. 2 are not finite"):
        writing.add(batch)
    batch.logits[1, 2, 3] = kept


def test_more_answers_than_windows_are_refused(writer):
    with writer() as writing:
        writing.add(a_batch(0, 9))
        with pytest.raises(ValueError, match="do not fit 1 windows"):
            writing.add(a_batch(0, 2))


def test_files_are_all_that_another_machine_needs(tmp_path, kept, asked):
    files = AnswerReader(kept, asked()).files()
    (tmp_path / "elsewhere").mkdir()
    for name, path in files.items():
        (tmp_path / "elsewhere" / name).write_bytes(path.read_bytes())
    assert len(AnswerReader(tmp_path / "elsewhere", asked())) == COUNT


def damage(path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
