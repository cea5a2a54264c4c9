import os
import threading
import time
from pathlib import Path

import pytest

from shared.contracts.base import digest_of
from shared.kit.cache import Cache


def fetching(content: bytes, calls: list[Path]):
    def fetch(path: Path) -> None:
        calls.append(path)
        time.sleep(0.05)
        path.write_bytes(content)

    return fetch


def test_a_blob_is_fetched_once_however_many_want_it_at_once(tmp_path):
    cache, calls, seen = Cache(tmp_path), [], []

    def want() -> None:
        with cache.blob(digest_of(b"abc"), fetching(b"abc", calls)) as path:
            seen.append(path.read_bytes())

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [b"abc"] * 8
    assert len(calls) == 1


def test_a_fetch_that_fails_leaves_nothing_behind_and_may_be_tried_again(tmp_path):
    cache = Cache(tmp_path)

    def half(path: Path) -> None:
        path.write_bytes(b"ab")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), cache.blob(digest_of(b"abc"), half):
        pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "locks"]
    with cache.blob(digest_of(b"abc"), fetching(b"abc", [])) as path:
        assert path.read_bytes() == b"abc"


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    cache = Cache(tmp_path)

    def half(path: Path) -> None:
        path.mkdir()
        (path / "images.npy").write_bytes(b"half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError), cache.folder("k" * 64, half):
        pass
    with cache.folder("k" * 64, Path.mkdir) as path:
        assert list(path.iterdir()) == []


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays(tmp_path):
    cache = Cache(tmp_path, limit_bytes=250)
    digests = [digest_of(bytes([number]) * 100) for number in range(4)]
    with cache.blob(digests[0], fetching(b"\0" * 100, [])) as held:
        for age, number in ((20, 1), (10, 2)):
            with cache.blob(digests[number], fetching(bytes([number]) * 100, [])) as path:
                pass
            if path.exists():
                os.utime(path, (time.time() - age, time.time() - age))
        os.utime(held, (0, 0))
        with cache.blob(digests[3], fetching(b"\3" * 100, [])):
            pass
        assert held.exists(), "it is the oldest, and somebody reads it"
    assert cache.size_bytes() <= 250
    refetched: list[Path] = []
    with cache.blob(digests[1], fetching(b"\1" * 100, refetched)):
        assert refetched, "the least recently used of the unused was evicted"


def test_entries_tell_what_they_are_and_whether_somebody_uses_them(tmp_path):
    cache = Cache(tmp_path)

    def windows(folder: Path) -> None:
        folder.mkdir()
        (folder / "meta.json").write_text('{"split": "val"}')
        (folder / "part").write_bytes(b"12345678")

    with cache.folder("k" * 64, windows) as held:
        os.utime(held, (1e9, 1e9))
        with cache.blob(digest_of(b"abc"), fetching(b"abc", [])):
            pass
        folder, blob = cache.entries()
        assert (folder.name, folder.meta, folder.size_bytes, folder.in_use) == ("k" * 64, {"split": "val"}, 24, True)
        assert folder.used_at.timestamp() == 1e9
        assert (blob.is_folder, folder.is_folder) == (False, True)
        assert (blob.in_use, blob.size_bytes, blob.meta) == (False, 3, {})
        assert not cache.remove(folder)
        assert cache.remove(blob)
    assert [entry.name for entry in cache.entries()] == ["k" * 64]


@pytest.mark.parametrize("meta", ["{", "[1]", "\x00"])
def test_a_folder_with_broken_notes_is_still_listed(tmp_path, meta):
    def folder(path: Path) -> None:
        path.mkdir()
        (path / "meta.json").write_text(meta)

    cache = Cache(tmp_path)
    with cache.folder("k" * 64, folder):
        pass
    assert [entry.meta for entry in cache.entries()] == [{}]


def test_a_lock_vanishes_with_its_holder(tmp_path):
    cache = Cache(tmp_path, limit_bytes=1)
    child = os.fork()
    if child == 0:  # holds the entry's lock and dies without letting go
        with cache.blob(digest_of(b"abc"), fetching(b"abc", [])):
            os._exit(0)
    os.waitpid(child, 0)
    cache.evict()
    assert cache.size_bytes() == 0


def test_leftovers_of_killed_processes_are_swept(tmp_path):
    cache = Cache(tmp_path)
    old, new = tmp_path / "unfinished" / "old", tmp_path / "unfinished" / "new"
    for path in (old, new):
        path.mkdir(parents=True)
    os.utime(old, (0, 0))
    cache.sweep()
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["new"]
