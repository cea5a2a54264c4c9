"""`picofleet teachers` from a mirror onto the real jobs service, with a small file in the checkpoint's place."""

import functools
import json
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli import teachers
from shared.contracts.base import digest_of
from shared.contracts.distillation import PublishedCheckpoint, SamSize, TeacherOut

Run = Callable[..., Any]
WEIGHTS = b"weights" * 1000


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of a server that publishes one checkpoint, sam2.1-tiny."""
    root = tmp_path / "mirror"
    root.mkdir()
    (root / "tiny.pt").write_bytes(WEIGHTS)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/tiny.pt"
    published = PublishedCheckpoint(size=SamSize.TINY, url=url, digest=digest_of(WEIGHTS), size_bytes=len(WEIGHTS))
    monkeypatch.setattr(teachers, "_BY_NAME", {published.name: published})
    yield root
    server.shutdown()
    server.server_close()


def test_a_checkpoint_is_fetched_checked_and_uploaded(run: Run, fleet: Any, mirror: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    ended = run("--home", str(home), "teachers", "fetch", "sam2.1-tiny")
    assert ended.code == 0, ended.err
    assert ended.out.strip() == digest_of(WEIGHTS)
    assert fleet.blobs.download(digest_of(WEIGHTS), tmp_path / "back").read_bytes() == WEIGHTS
    assert not list((home / "downloads").glob("tiny*")), "the platform has it: a second copy only fills the disk"
    (mirror / "tiny.pt").unlink()
    again = run("teachers", "fetch", "sam2.1-tiny", "--json")
    assert (again.code, json.loads(again.out)["digest"]) == (0, digest_of(WEIGHTS))
    assert "already" in again.err


def test_a_download_can_be_kept(run: Run, mirror: Path, tmp_path: Path) -> None:
    assert run("teachers", "fetch", "sam2.1-tiny", "--to", str(tmp_path / "kept")).code == 0
    assert (tmp_path / "kept" / "tiny.pt").read_bytes() == WEIGHTS


def test_other_bytes_than_the_published_ones_never_reach_the_platform(
    run: Run, fleet: Any, mirror: Path, tmp_path: Path
) -> None:
    (mirror / "tiny.pt").write_bytes(WEIGHTS[::-1])
    ended = run("teachers", "fetch", "sam2.1-tiny", "--to", str(tmp_path / "to"))
    assert ended.code == 1
    assert "sha256" in ended.err
    assert not fleet.blobs.exists(digest_of(WEIGHTS[::-1]))
    own = tmp_path / "own.pt"
    own.write_bytes(b"other")
    refused = run("teachers", "fetch", "sam2.1-tiny", "--file", str(own))
    assert refused.code == 2
    assert "--checkpoint" in refused.err
    assert not fleet.blobs.exists(digest_of(b"other"))


def test_a_file_that_is_here_already_needs_no_network(run: Run, fleet: Any, mirror: Path, tmp_path: Path) -> None:
    (mirror / "tiny.pt").rename(tmp_path / "tiny.pt")
    assert run("teachers", "fetch", "sam2.1-tiny", "--file", str(tmp_path / "tiny.pt")).code == 0
    assert fleet.blobs.exists(digest_of(WEIGHTS))


def test_an_unknown_teacher_is_told_the_known_ones(run_alone: Run) -> None:
    ended = run_alone("teachers", "fetch", "sam3")
    assert ended.code == 2
    assert "sam2.1-tiny, sam2.1-small, sam2.1-base-plus, sam2.1-large" in ended.err


def test_the_list_says_what_to_do_for_those_that_are_missing(
    script: Any, answer: Callable[..., Any], run_scripted: Run
) -> None:
    known = {"size": SamSize.TINY, "url": "https://x/y.pt", "digest": digest_of(b""), "size_bytes": 156_000_000}
    told = [TeacherOut(name=name, present=name == "a", **known).model_dump(mode="json") for name in ("a", "b")]
    script.handlers = [answer(200, json.dumps(told))]
    here, missing = run_scripted("teachers", "list").out.splitlines()[1:]
    assert here.split()[:4] == ["a", "156", "MB", "here"]
    assert "picofleet teachers fetch b" in missing
