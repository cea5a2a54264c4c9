"""Where a teacher's weights come from, and what is said when they cannot be had."""

import contextlib
import hashlib
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from shared.contracts.distillation import DistillationSpec, SamSize
from shared.contracts.worker import Claim
from shared.kit.cache import Cache
from shared.picosam.errors import BadWeights
from shared.picosam.teachers.sam import build_sam, sam_digest
from workers.distillation import teacher as teachers
from workers.distillation.teacher import make_teacher, teacher_digest
from workers.harness.context import JobContext, Stopped
from workers.harness.errors import JobFailed


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, str]:
    """A checkpoint in the published form, and its digest."""
    path = tmp_path_factory.mktemp("published") / "sam2.1_hiera_tiny.pt"
    torch.save({"model": build_sam(SamSize.TINY).state_dict()}, path)
    return path, f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def a_spec(**teacher) -> DistillationSpec:
    data = {"train": [{"dataset": "d", "split": "train"}], "validation": {"dataset": "d", "split": "val"}}
    return DistillationSpec.model_validate({**data, "teacher": {"kind": "sam2"} | teacher, "recipe": {"seed": 9}})


@pytest.fixture
def ctx(tmp_path):
    """A job whose service is not there: whoever asks it for a blob fails."""
    (tmp_path / "job").mkdir()
    claim = Claim(job_id="1", kind="distillation", spec=a_spec(), owner="o", attempt=1, token=1, lease_s=30)
    return JobContext(
        claim=claim,
        folder=tmp_path / "job",
        cache=Cache(tmp_path / "cache"),
        jobs=None,
        mlflow_url="",
        now=lambda: datetime.now(UTC),
        stop_requested=lambda: False,
        report=lambda _: None,
        log=lambda *_, **__: None,
        announce_run=lambda _: None,
    )


class Files(BaseHTTPRequestHandler):
    """Serves bytes; breaks the connection off after ``cut`` of them, once."""

    content = b""
    cut: int | None = None
    asked: list[str | None]

    def do_GET(self) -> None:
        given = self.headers.get("Range")
        self.asked.append(given)
        start = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
        part = self.content[start:]
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        cut, type(self).cut = self.cut, None
        with contextlib.suppress(ConnectionError):
            self.wfile.write(part[:cut])

    def log_message(self, *_: object) -> None:
        """Not in the tests' output."""


@pytest.fixture
def served():
    handler = type("Served", (Files,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}/sam.pt"
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("form", ["path", "file URL"])
def test_a_checkpoint_that_the_worker_sees_is_read_where_it_is(ctx, published, form):
    path, digest = published
    spec = a_spec(checkpoint={"digest": digest, "url": str(path) if form == "path" else path.as_uri()})
    assert make_teacher(ctx, spec).digest == teacher_digest(ctx, spec) == sam_digest(SamSize.TINY, digest, "best")


def test_a_checkpoint_of_a_server_is_fetched_once_and_a_broken_download_gone_on_with(ctx, published, served):
    path, digest = published
    served.content, served.cut = path.read_bytes(), 70_000_000
    spec = a_spec(checkpoint={"digest": digest, "url": served.url})
    make_teacher(ctx, spec)
    first, second = served.asked
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= 70_000_000
    make_teacher(ctx, spec)
    assert len(served.asked) == 2


def test_another_file_than_the_one_named_is_refused_naming_both(ctx, served):
    served.content = b"something else"
    spec = a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": served.url})
    found = hashlib.sha256(served.content).hexdigest()
    with pytest.raises(JobFailed, match=rf"{served.url} is sha256:{found}, and not sha256:000") as failed:
        make_teacher(ctx, spec)
    assert failed.value.error.type == "wrong_checkpoint"


def test_a_local_file_of_another_digest_is_refused(ctx, published):
    spec = a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": str(published[0])})
    with pytest.raises(BadWeights, match="and not sha256:000"):
        make_teacher(ctx, spec)


def test_a_checkpoint_of_another_size_is_refused_by_name(ctx, published):
    path, digest = published
    with pytest.raises(BadWeights, match=r"is of SAM 2\.1 tiny, and the teacher's size is large"):
        make_teacher(ctx, a_spec(size="large", checkpoint={"digest": digest, "url": str(path)}))


@pytest.mark.parametrize("source", ["/nowhere/sam.pt", "file:///nowhere/sam.pt"])
def test_a_file_that_is_not_there_is_named(ctx, source):
    spec = a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": source})
    with pytest.raises(JobFailed, match=r"there is no file .*sam\.pt") as failed:
        make_teacher(ctx, spec)
    assert failed.value.error.type == "checkpoint_missing"


def test_a_server_that_does_not_have_it_is_named_with_its_answer(ctx, served, monkeypatch):
    monkeypatch.setattr(served, "do_GET", lambda self: self.send_error(404))
    spec = a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": served.url})
    with pytest.raises(JobFailed, match=rf"{served.url}: it answers 404"):
        make_teacher(ctx, spec)


def test_a_server_that_is_not_there_is_named(ctx):
    spec = a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": "http://127.0.0.1:9/sam.pt"})
    with pytest.raises(JobFailed, match=r"cannot be fetched from http://127\.0\.0\.1:9/sam\.pt") as failed:
        make_teacher(ctx, spec)
    assert "picofleet teachers fetch" in failed.value.error.hint


def test_a_file_that_is_too_large_is_not_downloaded_to_the_end(ctx, served, monkeypatch):
    monkeypatch.setattr(teachers, "MAX_BYTES", 1000)
    served.content = bytes(5000)
    with pytest.raises(JobFailed, match="has more than 1000 bytes"):
        make_teacher(ctx, a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": served.url}))


def test_a_download_ends_when_the_job_is_cancelled(ctx, served):
    served.content = bytes(5000)
    stopped = JobContext(**{name: getattr(ctx, name) for name in ctx.__slots__} | {"stop_requested": lambda: True})
    with pytest.raises(Stopped):
        make_teacher(stopped, a_spec(checkpoint={"digest": "sha256:" + "0" * 64, "url": served.url}))


def test_without_a_checkpoint_one_is_told_where_meta_publishes_it_and_what_fetches_it(ctx):
    with pytest.raises(JobFailed, match=r"https://dl\.fbaipublicfiles\.com/.*hiera_small\.pt") as failed:
        make_teacher(ctx, a_spec(size="small"))
    assert "picofleet teachers fetch sam2.1-small" in failed.value.error.hint


def test_random_weights_must_be_asked_for_and_are_the_recipes_seeds(ctx):
    spec = a_spec(allow_random_weights=True, masks="weighted")
    assert make_teacher(ctx, spec).digest == teacher_digest(ctx, spec) == sam_digest(SamSize.TINY, "random:9", "weighted")
