import io
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.client.errors import DownloadError, NotReachable, ProblemError
from shared.client.sdk import PicofleetClient
from shared.contracts.base import digest_of
from shared.contracts.datasets import ArchiveSource, DatasetIn, GeneratorSource, SplitSource
from shared.contracts.jobs import EventType, JobState
from shared.contracts.keys import KeyIn, Scope


def a_dataset(**changes: Any) -> DatasetIn:
    return DatasetIn(**({"name": "shapes", "source": GeneratorSource(images=10)} | changes))


def test_a_dataset_is_registered_found_and_removed(fleet: PicofleetClient) -> None:
    made = fleet.datasets.register(a_dataset())
    assert made.import_job is not None
    assert fleet.datasets.get("shapes").id == made.id
    assert [dataset.id for dataset in fleet.datasets.list()] == [made.id]
    fleet.jobs.cancel(made.import_job)
    fleet.datasets.delete("shapes")
    assert fleet.datasets.find("shapes") is None


def test_lists_go_over_all_pages(fleet: PicofleetClient) -> None:
    for number in range(7):
        fleet.datasets.register(a_dataset(name=f"set-{number}"))
    from shared.client.resources.pages import every
    from shared.contracts.datasets import DatasetOut

    names = [dataset.name for dataset in every(fleet.transport, "/v1/datasets", DatasetOut, page_size=3)]
    assert names == [f"set-{number}" for number in reversed(range(7))]
    assert len(list(fleet.datasets.list(limit=4))) == 4


def test_jobs_are_listed_by_state_and_kind_and_cancelled(fleet: PicofleetClient) -> None:
    job = fleet.datasets.register(a_dataset()).import_job
    assert job is not None
    assert [found.id for found in fleet.jobs.list(states=[JobState.QUEUED])] == [job]
    assert not list(fleet.jobs.list(states=[JobState.RUNNING, JobState.FAILED]))
    assert fleet.jobs.cancel(job).state is JobState.CANCELLED
    assert fleet.jobs.retry(job).state is JobState.QUEUED


def test_events_end_with_the_job(fleet: PicofleetClient) -> None:
    job = fleet.datasets.register(a_dataset()).import_job
    assert job is not None
    threading.Timer(0.3, fleet.jobs.cancel, [job]).start()
    events = list(fleet.jobs.events(job))
    assert [event.payload["state"] for event in events if event.type is EventType.STATE] == ["queued", "cancelled"]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert list(fleet.jobs.events(job, after=events[-1].seq)) == []


def test_the_kinds_of_jobs_have_schemas(fleet: PicofleetClient) -> None:
    schemas = {kind.kind.value: kind.json_schema for kind in fleet.jobs.kinds()}
    assert "train" in schemas["training"]["properties"]


def test_an_upload_is_stored_once_and_comes_back_whole(fleet: PicofleetClient, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3_000_000)
    seen: list[int] = []
    blob = fleet.blobs.upload(file, on_progress=lambda done, _: seen.append(done))
    assert (blob.digest, seen[-1]) == (digest_of(file.read_bytes()), 3_000_000)
    seen.clear()
    assert fleet.blobs.upload(file, on_progress=lambda done, _: seen.append(done)).digest == blob.digest
    assert not seen, "a blob that is there is not sent again"
    assert fleet.blobs.download(blob.digest, tmp_path / "copy").read_bytes() == file.read_bytes()


def test_an_archive_is_registered_by_its_blob(fleet: PicofleetClient, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("instances.json", "{}")
    (tmp_path / "a.zip").write_bytes(content.getvalue())
    blob = fleet.blobs.upload(tmp_path / "a.zip")
    split = SplitSource(split="all", images="images", annotations="instances.json")
    made = fleet.datasets.register(a_dataset(source=ArchiveSource(blob=blob.digest, splits=[split])))
    assert fleet.datasets.get(made.id).source == made.source


def test_keys_are_made_listed_and_revoked(fleet: PicofleetClient, service: Any) -> None:
    made = fleet.keys.create(KeyIn(name="dash", scope=Scope.VIEWER))
    with PicofleetClient(service.url, made.secret) as viewer:
        assert viewer.keys.own().name == "dash"
        with pytest.raises(ProblemError) as caught:
            viewer.datasets.register(a_dataset())
    assert caught.value.status == 403
    fleet.keys.revoke(made.id)
    assert next(key for key in fleet.keys.list() if key.id == made.id).revoked_at is not None


def test_a_wrong_key_is_refused(service: Any) -> None:
    with PicofleetClient(service.url, "pf_wrong") as client, pytest.raises(ProblemError) as caught:
        next(client.jobs.list())
    assert caught.value.status == 401


def an_event(seq: int, state: str = "running") -> str:
    body = {"seq": seq, "type": "state", "at": "2026-01-01T00:00:00Z", "payload": {"state": state}}
    return f"id: {seq}\nevent: state\ndata: {json.dumps(body)}\n\n"


def a_job(state: str) -> str:
    fields: dict[str, Any] = {"id": "1", "kind": "training", "name": None, "spec": {}, "owner": "a", "tags": {}, "attempt": 1}
    return json.dumps(fields | {"state": state, "created_at": "2026-01-01T00:00:00Z"})


def test_a_stream_that_breaks_off_goes_on_after_the_last_event(script: Any, answer: Callable[..., Any]) -> None:
    first, rest = an_event(1) + an_event(2) + an_event(3)[:20], an_event(2) + an_event(3) + an_event(4, "succeeded")
    stream = {"kind": "text/event-stream"}
    script.handlers = [
        answer(200, first + " " * 99, cut=len(first), **stream),
        answer(200, rest, **stream),
        answer(200, a_job("succeeded")),
    ]
    with PicofleetClient(script.url) as client:
        assert [event.seq for event in client.jobs.events("1")] == [1, 2, 3, 4]
    assert [headers.get("last-event-id") for _, _, headers in script.asked] == [None, "2", None]


def test_a_stream_given_up_by_the_service_is_taken_up_while_the_job_runs(script: Any, answer: Callable[..., Any]) -> None:
    stream = {"kind": "text/event-stream"}
    script.handlers = [
        answer(200, an_event(1), **stream),
        answer(200, a_job("running")),
        answer(200, an_event(2, "failed"), **stream),
        answer(200, a_job("failed")),
    ]
    with PicofleetClient(script.url) as client:
        assert [event.seq for event in client.jobs.events("1")] == [1, 2]


def test_a_service_that_stays_away_is_given_up(script: Any, answer: Callable[..., Any]) -> None:
    script.handlers = [answer(200, an_event(1) + "  ", cut=1, kind="text/event-stream")]
    with PicofleetClient(script.url, retries=0) as client, pytest.raises(NotReachable):
        list(client.jobs.events("1", give_up_after_s=0.5))


def test_a_job_that_does_not_exist_ends_the_stream_at_once(fleet: PicofleetClient) -> None:
    with pytest.raises(ProblemError) as caught:
        list(fleet.jobs.events("01a20397-16a2-725e-8ae8-f32d8327209b"))
    assert caught.value.status == 404


def test_a_download_of_wrong_or_missing_bytes_leaves_nothing(script: Any, answer: Callable[..., Any], tmp_path: Path) -> None:
    digest = digest_of(b"right")
    script.handlers = [answer(200, b"wrong"), answer(200, b"right", cut=3)]
    with PicofleetClient(script.url) as client:
        with pytest.raises(DownloadError, match="not sha256"):
            client.blobs.download(digest, tmp_path / "to" / "file")
        with pytest.raises((DownloadError, NotReachable)):
            client.blobs.download(digest, tmp_path / "to" / "file")
    assert list((tmp_path / "to").iterdir()) == []


def test_an_environment_names_the_service(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOFLEET_URL", service.url)
    monkeypatch.setenv("PICOFLEET_API_KEY", service.key)
    with PicofleetClient() as client:
        assert client.keys.own().scope is Scope.ADMIN
