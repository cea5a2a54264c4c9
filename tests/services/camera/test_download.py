import hashlib
import os
from pathlib import Path

import httpx
import pytest

from services.camera import download as downloading
from services.camera.disk import Disk
from services.camera.download import download
from services.camera.errors import InstallFailed, Unreachable
from services.camera.messages import Artifact
from services.camera.wire import Wire
from tests.services.camera.doubles import BASE, StubServer

CONTENT = os.urandom(300_000)


@pytest.fixture
def wire(server: StubServer) -> Wire:
    return Wire(BASE, "default", "cam-1", lambda: "TargetToken secret-of-cam-1", transport=server.transport)


@pytest.fixture
def artifact(server: StubServer) -> Artifact:
    return Artifact.model_validate(server.offer(CONTENT).chunk["artifacts"][0])


def test_a_download_goes_on_where_it_broke_off(wire: Wire, server: StubServer, artifact: Artifact, tmp_path: Path) -> None:
    for cut in (100_000, 50_000):
        server.cut_after = cut
        with pytest.raises(Unreachable, match="broke off"):
            download(wire, Disk(), artifact, tmp_path)
    path = download(wire, Disk(), artifact, tmp_path)
    assert path.read_bytes() == CONTENT
    assert [each.headers.get("range") for each in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert "if-range" in server.requests[-1].headers
    assert download(wire, Disk(), artifact, tmp_path) == path
    assert len(server.requests) == 3


def test_another_file_under_the_same_url_is_begun_anew(
    wire: Wire, server: StubServer, artifact: Artifact, tmp_path: Path
) -> None:
    server.cut_after = 1000
    with pytest.raises(Unreachable):
        download(wire, Disk(), artifact, tmp_path)
    next(tmp_path.glob("*.etag")).write_text('"of-yesterday"')
    assert download(wire, Disk(), artifact, tmp_path).read_bytes() == CONTENT


def test_bytes_that_were_never_written_are_noticed_and_fetched_again(wire: Wire, artifact: Artifact, tmp_path: Path) -> None:
    """After a power cut a file may have its length and zeros."""
    (tmp_path / f"{artifact.hashes.sha256}.part").write_bytes(bytes(len(CONTENT)))
    assert download(wire, Disk(), artifact, tmp_path).read_bytes() == CONTENT


def test_what_is_not_what_was_announced_is_refused_and_removed(wire: Wire, server: StubServer, tmp_path: Path) -> None:
    offer = server.offer(CONTENT)
    announced = Artifact.model_validate(offer.chunk["artifacts"][0])
    offer.content = bytes(len(CONTENT))
    with pytest.raises(InstallFailed, match=hashlib.sha256(offer.content).hexdigest()):
        download(wire, Disk(), announced, tmp_path)
    assert not list(tmp_path.glob("*.part"))
    assert not list(tmp_path.glob("*.tar"))


def test_a_server_that_sends_more_than_announced_is_not_listened_to(wire: Wire, server: StubServer, tmp_path: Path) -> None:
    offer = server.offer(CONTENT)
    announced = Artifact.model_validate(offer.chunk["artifacts"][0])
    offer.content = CONTENT + b"more"
    assert download(wire, Disk(), announced, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(416), Unreachable),
        (httpx.Response(206, headers={"content-range": "bytes 7-9/10"}, content=b"abc"), Unreachable),
        (httpx.Response(300), Unreachable),
    ],
)
def test_odd_answers_leave_nothing_behind(
    wire: Wire, server: StubServer, artifact: Artifact, tmp_path: Path, answer: httpx.Response, error: type[Exception]
) -> None:
    server.before = lambda _: answer
    with pytest.raises(error):
        download(wire, Disk(), artifact, tmp_path)
    server.before = lambda _: None
    assert download(wire, Disk(), artifact, tmp_path).read_bytes() == CONTENT


def test_what_has_no_place_is_not_begun(
    wire: Wire, server: StubServer, artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "free_bytes", lambda _: 1000)
    with pytest.raises(InstallFailed, match="the disk is full: 1,000 bytes are free"):
        download(wire, Disk(), artifact, tmp_path)
    assert server.requests == []


def test_a_file_that_no_package_can_be_is_not_begun(wire: Wire, server: StubServer, artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InstallFailed, match="at most"):
        download(wire, Disk(), artifact.model_copy(update={"size": 1 << 30}), tmp_path)
    assert server.requests == []
