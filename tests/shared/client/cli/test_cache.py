"""`picofleet cache` on a cache that holds one of each."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli.cache import Kind, described, size, span
from shared.client.cli.common import UsageError
from shared.contracts.base import digest_of
from shared.contracts.windows import WindowPolicy
from shared.kit.cache import Cache
from shared.picosam.data.shards import ShardPolicy
from shared.picosam.teachers.answers import Asked

Run = Callable[..., Any]
TEACHER, DATASET = digest_of(b"teacher"), digest_of(b"dataset")


def _folder_with(meta: dict[str, Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps(meta))
        (folder / "part").write_bytes(b"x" * 2000)

    return make


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Windows unused for 40 days, answers for 2 days, an archive and a blob used just now."""
    made = Cache(tmp_path / "cache")
    policy = ShardPolicy(window=WindowPolicy(side=128)).described()
    windows = {"key": "a" * 64, "dataset": DATASET, "split": "val", "policy": policy, "windows": 7}
    asked = {"teacher": TEACHER, "dataset": DATASET, "split": "train", "shards": "0", "view": "context", "context_side": 256}
    Asked(**asked)  # the fields are those that a worker writes
    for name, meta, days in (("a" * 64, windows, 40), ("b" * 64, {"asked": asked, "windows": 9}, 2), ("archive-cc", {}, 0)):
        with made.folder(name, _folder_with(meta)) as path:
            pass
        os.utime(path, (time.time() - days * 86_400 - 60,) * 2)
    with made.blob(digest_of(b"abc"), lambda path: path.write_bytes(b"abc") and None):
        pass
    return made


def test_entries_are_described_by_what_made_them(cache: Cache) -> None:
    windows, answers, archive, blob = map(described, cache.entries())
    assert (windows.kind, archive.kind, blob.kind) == (Kind.WINDOWS, Kind.ARCHIVE, Kind.BLOB)
    assert windows.about == f"7 windows of {DATASET[7:19]}/val, point 128 pad canvas 96"
    assert answers.kind is Kind.ANSWERS
    assert answers.about == f"9 answers, teacher {TEACHER[7:19]} on {DATASET[7:19]}/train, view context 256"


def test_the_list_is_for_people_and_for_programs(run_alone: Run, cache: Cache) -> None:
    where = ("--cache-dir", str(cache.root))
    shown = run_alone("cache", "ls", *where)
    assert [line.split()[1] for line in shown.out.splitlines()[1:]] == ["windows", "answers", "archive", "blob"]
    assert "40 d" in shown.out
    assert "4 entries" in shown.err
    listed = json.loads(run_alone("cache", "ls", *where, "--older-than", "1d", "--json").out)
    assert [(entry["key"], entry["kind"], entry["in_use"]) for entry in listed] == [
        ("a" * 64, "windows", False),
        ("b" * 64, "answers", False),
    ]
    assert json.loads(run_alone("cache", "ls", *where, "--kind", "blob", "--json").out)[0]["size_bytes"] == 3


def test_what_is_chosen_goes_and_the_rest_stays(run_alone: Run, cache: Cache) -> None:
    where = ("--cache-dir", str(cache.root), "--yes")
    ended = run_alone("cache", "rm", "--older-than", "30d", *where)
    assert (ended.code, "1 entries removed" in ended.err) == (0, True)
    assert run_alone("cache", "rm", "bbb", *where).code == 0
    assert [described(entry).kind for entry in cache.entries()] == [Kind.ARCHIVE, Kind.BLOB]
    assert json.loads(run_alone("cache", "rm", "--all", *where, "--json").out)["freed_bytes"] == 2005
    assert cache.entries() == []


def test_what_a_job_has_open_stays(run_alone: Run, cache: Cache) -> None:
    where = ("--cache-dir", str(cache.root), "--yes")
    with cache.folder("b" * 64, Path.mkdir):
        named = run_alone("cache", "rm", "bbb", *where)
        assert named.code == 2
        assert "in use by a job" in named.err
        swept = run_alone("cache", "rm", "--all", *where)
        assert (swept.code, "1 in use" in swept.err) == (0, True)
    assert [entry.name for entry in cache.entries()] == ["b" * 64]


def test_nothing_goes_without_a_choice_or_a_yes(run_alone: Run, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ("--cache-dir", str(cache.root))
    for arguments in ([], ["--all", "bbb"], ["zzz"], [""], ["--older-than", "soon"]):
        ended = run_alone("cache", "rm", *arguments, *where)
        assert ended.code == 2, arguments
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert run_alone("cache", "rm", "--all", *where).code == 2
    assert len(cache.entries()) == 4


def test_an_absent_cache_is_an_empty_one(run_alone: Run, tmp_path: Path) -> None:
    ended = run_alone("--home", str(tmp_path), "cache", "ls")
    assert (ended.code, ended.out) == (0, "")
    assert not (tmp_path / "cache").exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (5e9, "5.0 GB")]
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(int(size_bytes)) == text


def test_spans_of_time() -> None:
    assert [span(text).total_seconds() for text in ("45min", "12h", "30d")] == [2700, 43_200, 2_592_000]
    for text in ("", "d", "1w", "-1d", "1 d", "9999999d", "²d"):
        with pytest.raises(UsageError):
            span(text)
