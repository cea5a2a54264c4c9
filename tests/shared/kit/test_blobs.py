"""The blob store on a folder, and on fsspec's memory file system as a stand-in for an object store's interface."""

import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.base import digest_of
from shared.kit.blobs import BlobNotFound, BlobStore, BlobTooLarge, DigestMismatch, MalformedDigest


@pytest.fixture(params=["folder", "object store"])
def store(request, tmp_path):
    return BlobStore(str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path}/blobs")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "blobs"


@pytest.fixture
def local(folder):
    return BlobStore(folder.as_uri())


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_blob_is_named_by_its_content(store):
    stored = store.put_stream([b"ab", b"", b"c"], max_bytes=3)
    assert stored == (digest_of(b"abc"), 3)
    assert store.exists(stored.digest)
    assert store.size(stored.digest) == 3
    assert b"".join(store.open_range(stored.digest)) == b"abc"


def test_ranges_are_cut_at_the_end(store):
    digest = store.put_bytes(bytes(range(10))).digest
    assert b"".join(store.open_range(digest, 2, 5)) == bytes([2, 3, 4])
    assert b"".join(store.open_range(digest, 8, 99)) == bytes([8, 9])
    assert b"".join(store.open_range(digest, 10)) == b""


def test_the_same_bytes_again_change_nothing(store):
    first = store.put_bytes(b"abc")
    assert store.put_bytes(b"abc") == first
    assert b"".join(store.open_range(first.digest)) == b"abc"


def test_another_content_than_announced_is_refused_and_not_kept(local, folder):
    with pytest.raises(DigestMismatch) as caught:
        local.put_stream([b"changed"], expected=digest_of(b"abc"), max_bytes=99)
    assert caught.value.members["actual"] == digest_of(b"changed")
    assert files_below(folder) == []


def test_too_much_is_refused_while_it_streams(local, folder):
    def endless():
        while True:
            yield b"x" * 1000

    with pytest.raises(BlobTooLarge):
        local.put_stream(endless(), max_bytes=10_000)
    assert files_below(folder) == []


def test_an_upload_that_breaks_off_leaves_nothing(local, folder):
    def broken():
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        local.put_stream(broken(), max_bytes=99)
    assert files_below(folder) == []


@pytest.mark.parametrize(
    "text", ["sha256:../../etc/passwd", "../x", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "", "sha256:" + "0" * 64 + "\n"]
)
def test_only_digests_reach_the_file_system(local, text):
    with pytest.raises(MalformedDigest):
        local.exists(text)
    with pytest.raises(MalformedDigest):
        local.delete(text)


def test_a_missing_blob_is_said_to_be_missing_before_the_first_byte(store):
    missing = digest_of(b"nobody has this")
    assert not store.exists(missing)
    for ask in (store.size, store.open, store.open_range):
        with pytest.raises(BlobNotFound):
            ask(missing)
    store.delete(missing)


def test_a_deleted_blob_is_gone(store):
    digest = store.put_bytes(b"abc").digest
    store.delete(digest)
    assert not store.exists(digest)


def test_files_are_taken_in_whole(local, tmp_path):
    (tmp_path / "big").write_bytes(os.urandom(3_000_001))
    stored = local.put_file(tmp_path / "big")
    path = local.path(stored.digest)
    assert path is not None
    assert path.read_bytes() == (tmp_path / "big").read_bytes()


def test_reading_whole_has_a_limit(local):
    digest = local.put_bytes(b"abc").digest
    assert local.read(digest, max_bytes=3) == b"abc"
    with pytest.raises(BlobTooLarge):
        local.read(digest, max_bytes=2)


def test_abandoned_uploads_are_swept_and_running_ones_are_not(local, folder):
    (folder / "incoming").mkdir(parents=True, exist_ok=True)
    old = folder / "incoming" / "old"
    old.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    with local.begin(max_bytes=9) as incoming:
        assert local.forget_abandoned() == 1
        incoming.write(b"abc")
        incoming.commit()
    assert local.exists(digest_of(b"abc"))


def test_many_who_store_the_same_at_once_all_succeed(local, folder):
    content, answers = os.urandom(200_000), []
    threads = [threading.Thread(target=lambda: answers.append(local.put_bytes(content))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [(digest_of(content), 200_000)] * 8
    assert len(files_below(folder)) == 1


@given(chunks=st.lists(st.binary(max_size=50), max_size=10), cut=st.tuples(st.integers(0, 600), st.integers(0, 600)))
def test_what_comes_out_is_what_went_in(tmp_path_factory, chunks, cut):
    store = BlobStore(str(tmp_path_factory.mktemp("blobs")))
    whole = b"".join(chunks)
    stored = store.put_stream(chunks, expected=digest_of(whole), max_bytes=500)
    assert b"".join(store.open_range(stored.digest, *cut)) == whole[cut[0] : max(cut)] if cut[0] <= cut[1] else True
