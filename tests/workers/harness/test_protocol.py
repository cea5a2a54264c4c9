import httpx
import pytest

from shared.contracts.base import digest_of, new_id
from shared.contracts.worker import FinishIn, ShardSet
from workers.harness.protocol import (
    DigestMismatch,
    JobsClient,
    NotClaimable,
    ProtocolError,
    ServiceAway,
    StaleToken,
    digest_file,
    patiently,
)


@pytest.fixture
def client(jobs_service):
    with JobsClient(
        jobs_service.url, (jobs_service.folder / "worker.key").read_text().strip(), transfer_patience_s=1
    ) as client:
        yield client


def test_a_blob_goes_up_once_and_comes_back(client, tmp_path, monkeypatch):
    content = bytes(range(256)) * 9000
    (tmp_path / "up").write_bytes(content)
    assert client.upload_blob(tmp_path / "up").digest == digest_of(content)
    monkeypatch.setattr("workers.harness.protocol._chunks", lambda _: pytest.fail("sent again"))
    client.upload_blob(tmp_path / "up")
    client.download_blob(digest_of(content), tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content


def test_a_download_goes_on_where_it_was_cut_off(client, tmp_path):
    content = bytes(range(256)) * 9000
    (tmp_path / "up").write_bytes(content)
    digest = client.upload_blob(tmp_path / "up").digest
    for have in (b"", content[:1000], content):
        (tmp_path / "down").write_bytes(have)
        client.download_blob(digest, tmp_path / "down")
        assert (tmp_path / "down").read_bytes() == content


def test_a_wrong_beginning_is_noticed_and_thrown_away(client, tmp_path):
    (tmp_path / "up").write_bytes(b"right" * 100)
    digest = client.upload_blob(tmp_path / "up").digest
    (tmp_path / "down").write_bytes(b"wrong")
    with pytest.raises(DigestMismatch, match="arrived as"):
        client.download_blob(digest, tmp_path / "down")
    assert not (tmp_path / "down").exists()


def test_refusals_have_names(client, jobs_service):
    with pytest.raises(ProtocolError) as unknown:
        client.claim(new_id(), "w")
    assert unknown.value.status == 404
    job_id = jobs_service.trial("succeed")
    claim = client.claim(job_id, "w")
    with pytest.raises(NotClaimable):
        client.claim(job_id, "w")
    with pytest.raises(StaleToken):
        client.heartbeat(job_id, claim.token + 1)
    assert client.heartbeat(job_id, claim.token).stop_requested is False
    client.finish(job_id, FinishIn(token=claim.token, cancelled=True))


def test_shards_that_nobody_made_are_none(client):
    assert client.get_shards("0" * 64) is None


def test_shards_are_found_again(client, tmp_path, jobs_service):
    (tmp_path / "meta.json").write_text("{}")
    dataset_id = jobs_service.dataset("shapes")["id"]
    digest = client.upload_blob(tmp_path / "meta.json").digest
    shards = ShardSet(key="ab" * 32, dataset_id=dataset_id, files={"meta.json": digest}, windows=1, size_bytes=2)
    client.put_shards(shards)
    assert client.get_shards(shards.key) == shards


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_answers_that_may_change_are_an_absence(status):
    client = JobsClient("http://jobs", "pf_x")
    client._http = httpx.Client(base_url="http://jobs", transport=httpx.MockTransport(lambda _: httpx.Response(status)))
    with pytest.raises(ServiceAway, match=str(status)):
        client.heartbeat("1", 1)


def test_patience_repeats_until_it_ends():
    calls: list[int] = []

    def absent() -> None:
        calls.append(1)
        raise ServiceAway("away")

    with pytest.raises(ServiceAway):
        patiently(absent, patience_s=0.5, stop=lambda: False, first_wait_s=0.1)
    assert len(calls) == 3  # at 0, 0.1 and 0.3 s; the next would be too late


def test_patience_ends_when_it_is_asked_to():
    with pytest.raises(ServiceAway):
        patiently(lambda: (_ for _ in ()).throw(ServiceAway("away")), patience_s=60, stop=lambda: True)


def test_digest_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert digest_file(tmp_path / "file") == (digest_of(b"abc"), 3)
