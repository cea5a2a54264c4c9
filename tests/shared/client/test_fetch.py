"""Downloads from a server that does what servers and the networks before them do."""

import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.client.errors import DownloadError
from shared.client.fetch import RemoteFile, fetch

SIZE = 3_000_000


def a_zip(seed: int = 0, size: int = SIZE) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("data.bin", hashlib.shake_128(bytes([seed])).digest(size))
    return content.getvalue()


class FileServer:
    """Serves one file with ranges, the way a real server does, unless it is told to misbehave."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.etag: str | None = '"one"'
        self.ranges = True
        self.cuts: list[int] = []
        """Each request breaks off after so many bytes while there are some."""
        self.before: Callable[[BaseHTTPRequestHandler], bool] = lambda _: False
        """Called first; True: it has answered."""
        self.asked: list[dict[str, str]] = []
        server = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append({key.lower(): value for key, value in self.headers.items()})
                if not server.before(self):
                    server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        same = self.etag is not None and request.headers.get("If-Range") == self.etag
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and same and self.ranges else None
        if start is not None and start >= len(self.content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(self.content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = self.content[start or 0 :]
        request.send_response(200 if start is None else 206)
        if start is not None:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag is not None:
            request.send_header("ETag", self.etag)
        request.send_header("Content-Type", "application/zip")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.cuts:
            request.wfile.write(body[: self.cuts.pop(0)])
            request.close_connection = True
        else:
            request.wfile.write(body)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[FileServer]:
    made = FileServer(a_zip())
    yield made
    made.close()


def get(server: FileServer, to: Path, **known: Any) -> Path:
    return fetch(server.url, RemoteFile("folder/file.zip", **known), to, sleep=lambda _: None)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_file_is_fetched_checked_and_its_digest_recorded(server: FileServer, tmp_path: Path) -> None:
    path = get(server, tmp_path)
    assert path.read_bytes() == server.content
    lock = json.loads((tmp_path / "file.zip.lock.json").read_text())
    assert lock["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert names(tmp_path) == ["file.zip", "file.zip.lock.json"]


def test_what_is_there_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert len(server.asked) == 1


def test_what_was_damaged_on_the_disk_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path).write_bytes(b"damaged")
    assert get(server, tmp_path).read_bytes() == server.content


def test_it_goes_on_where_it_broke_off(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1_000_000, 500_000, 1]
    assert get(server, tmp_path).read_bytes() == server.content
    assert [headers.get("range") for headers in server.asked] == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500001-"]


def test_it_goes_on_in_another_process(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1_000_000] + [0] * 6
    with pytest.raises(DownloadError, match="cannot be fetched") as caught:
        get(server, tmp_path)
    assert "goes on where it stopped" in caught.value.hint
    assert (tmp_path / "file.zip.part").stat().st_size == 1_000_000
    assert not (tmp_path / "file.zip").exists()
    server.asked.clear()
    assert get(server, tmp_path).read_bytes() == server.content
    assert server.asked[0]["range"] == "bytes=1000000-"


def test_a_server_that_ignores_ranges_sends_all_anew(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    server.cuts = [1_000_000]
    assert get(server, tmp_path).read_bytes() == server.content


def test_a_file_that_changed_meanwhile_is_not_put_together_from_two(server: FileServer, tmp_path: Path) -> None:
    new = a_zip(1)

    def change(_: BaseHTTPRequestHandler) -> bool:
        if len(server.asked) == 2:
            server.content, server.etag = new, '"two"'
        return False

    server.before, server.cuts = change, [1_000_000]
    assert get(server, tmp_path).read_bytes() == new


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_resumed(server: FileServer, tmp_path: Path, etag: str | None) -> None:
    server.etag, server.cuts = etag, [1_000_000]
    assert get(server, tmp_path).read_bytes() == server.content
    assert [headers.get("range") for headers in server.asked] == [None, None]


def test_a_break_after_the_last_byte_is_noticed(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    (tmp_path / "file.zip").rename(tmp_path / "file.zip.part")
    (tmp_path / "file.zip.part.json").write_text(json.dumps({"url": f"{server.url}/folder/file.zip", "validator": '"one"'}))
    assert get(server, tmp_path).read_bytes() == server.content
    assert server.asked[-1]["range"] == f"bytes={len(server.content)}-"


def test_more_bytes_than_the_file_has_are_thrown_away(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.zip.part").write_bytes(b"x" * (len(server.content) + 5))
    (tmp_path / "file.zip.part.json").write_text(json.dumps({"url": f"{server.url}/folder/file.zip", "validator": '"one"'}))
    assert get(server, tmp_path).read_bytes() == server.content


def test_an_answer_with_another_range_than_asked_for_is_not_used(server: FileServer, tmp_path: Path) -> None:
    def shifted(request: BaseHTTPRequestHandler) -> bool:
        if len(server.asked) != 2:
            return False
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 5-14/{len(server.content)}")
        request.send_header("Content-Length", "10")
        request.end_headers()
        request.wfile.write(b"0123456789")
        return True

    server.before, server.cuts = shifted, [1_000_000]
    assert get(server, tmp_path).read_bytes() == server.content


def test_a_wrong_digest_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="its sha256 is"):
        get(server, tmp_path, sha256="0" * 64)
    assert names(tmp_path) == []


def test_a_wrong_size_is_noticed_before_the_body(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not 5"):
        get(server, tmp_path, size_bytes=5)


def test_a_damaged_zip_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    damaged = bytearray(server.content)
    damaged[SIZE // 2] ^= 1
    server.content = bytes(damaged)
    with pytest.raises(DownloadError, match="is damaged"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_the_digest_of_the_first_time_holds_for_the_next(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path).unlink()
    server.content, server.etag = a_zip(2), '"two"'
    with pytest.raises(DownloadError, match="its sha256 is") as caught:
        get(server, tmp_path)
    assert "lock.json" in caught.value.hint


def page(request: BaseHTTPRequestHandler, status: int = 200, **headers: str) -> bool:
    body = b"<html>Please log in</html>"
    request.send_response(status)
    for name, value in ({"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(body))} | headers).items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(body)
    return True


def test_a_web_page_is_not_taken_for_the_file(server: FileServer, tmp_path: Path) -> None:
    server.before = page
    with pytest.raises(DownloadError, match="web page") as caught:
        get(server, tmp_path)
    assert "proxy" in caught.value.hint
    assert names(tmp_path) == []


@pytest.mark.parametrize(("status", "words"), [(404, "does not exist"), (403, "403")])
def test_a_refusal_is_not_repeated(server: FileServer, tmp_path: Path, status: int, words: str) -> None:
    server.before = lambda request: page(request, status)
    with pytest.raises(DownloadError, match=words):
        get(server, tmp_path)
    assert len(server.asked) == 1


def test_a_busy_server_is_waited_for_as_long_as_it_says(server: FileServer, tmp_path: Path) -> None:
    slept: list[float] = []
    server.before = lambda request: len(server.asked) <= 2 and page(request, 503, Retry_After="7")
    fetch(server.url, RemoteFile("file.zip"), tmp_path, sleep=slept.append)
    assert slept == [7.0, 7.0]


def test_a_redirect_is_followed(server: FileServer, tmp_path: Path) -> None:
    server.before = lambda request: request.path.startswith("/folder") and page(request, 302, Location="/elsewhere.zip")
    assert get(server, tmp_path).read_bytes() == server.content


def test_a_full_disk_is_noticed_before_the_download(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(DownloadError, match="1 MB free") as caught:
        get(server, tmp_path)
    assert "--to" in caught.value.hint


def test_two_at_once_do_not_write_into_each_other(server: FileServer, tmp_path: Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> bool:
        entered.set()
        return not leave.wait(20)

    server.before = wait
    first = threading.Thread(target=get, args=(server, tmp_path))
    first.start()
    assert entered.wait(10)
    with pytest.raises(DownloadError, match="another process"):
        get(server, tmp_path)
    leave.set()
    first.join(20)
    assert (tmp_path / "file.zip").read_bytes() == server.content


def test_progress_counts_what_was_there_before(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    server.cuts = [2_000_000]
    fetch(server.url, RemoteFile("file.zip"), tmp_path, on_progress=lambda *at: seen.append(at), sleep=lambda _: None)
    assert seen[-1] == (len(server.content), len(server.content))
    assert [at for at, _ in seen] == sorted(at for at, _ in seen)
