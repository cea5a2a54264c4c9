"""`picofleet datasets fetch` from a local server with a part of COCO's files."""

import functools
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli.main import main


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _zip(members: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """URL of a server with two tiny files under the official paths."""
    root = tmp_path / "mirror"
    files = {
        "zips/val2017.zip": {"val2017/1.jpg": "one", "val2017/2.jpg": "two"},
        "annotations/annotations_trainval2017.zip": {"annotations/instances_val2017.json": json.dumps({"images": []})},
    }
    for path, members in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(_zip(members))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def picofleet(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[Any, str, str]]:
    def run(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return caught.value.code, *capfd.readouterr()

    return run


def test_files_are_fetched_unpacked_and_the_folder_printed(
    mirror: str, picofleet: Callable[..., tuple[Any, str, str]], tmp_path: Path
) -> None:
    arguments = ["datasets", "fetch", "coco-val2017", "--to", str(tmp_path / "to"), "--base-url", mirror, "--any-content"]
    code, out, err = picofleet(*arguments)
    assert (code, out.strip()) == (0, str(tmp_path / "to" / "coco-val2017"))
    assert (tmp_path / "to/coco-val2017/val2017/2.jpg").read_text() == "two"
    assert f"--root {tmp_path}/to/coco-val2017 --split all=val2017:annotations/instances_val2017.json" in err
    assert picofleet(*arguments)[0] == 0, "a second time finds everything in place"


def test_other_bytes_than_the_official_ones_are_refused(
    mirror: str, picofleet: Callable[..., tuple[Any, str, str]], tmp_path: Path
) -> None:
    code, _, err = picofleet("datasets", "fetch", "coco-val2017", "--to", str(tmp_path / "to"), "--base-url", mirror)
    assert code == 1
    assert "not 815585330" in err
    assert not (tmp_path / "to/coco-val2017").exists()


def test_what_was_fetched_can_be_registered_at_once(
    mirror: str,
    picofleet: Callable[..., tuple[Any, str, str]],
    service: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.client.resources.datasets.Datasets.wait_ready", lambda self, name: self.get(name))
    monkeypatch.setattr("shared.client.cli.datasets.follow", lambda *_: None)  # there is no worker here
    code, _, err = picofleet(
        *("--url", service.url, "--api-key", service.key, "datasets", "fetch", "coco-val2017"),
        *("--to", str(tmp_path / "data"), "--base-url", mirror, "--any-content", "--register", "mine"),
    )
    assert code == 0, err
