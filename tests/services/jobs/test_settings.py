"""Settings from the environment."""

import pytest
from pydantic import ValidationError

from services.jobs.settings import JobsSettings

NEEDED = {"PICOFLEET_JOBS_DATABASE_URL": "sqlite:////x.db", "PICOFLEET_JOBS_BLOB_URL": "/blobs"}


@pytest.fixture
def load(monkeypatch):
    def load(**values):
        for name, value in (NEEDED | {f"PICOFLEET_JOBS_{name.upper()}": value for name, value in values.items()}).items():
            monkeypatch.setenv(name, value)
        return JobsSettings()

    return load


@pytest.mark.parametrize(
    ("text", "roots"),
    [('["/a", "/b,c"]', ["/a", "/b,c"]), ("/a, /b", ["/a", "/b"]), ("/a", ["/a"]), ("", []), ("[]", [])],
)
def test_roots_are_a_json_list_or_separated_by_commas(load, text, roots):
    assert load(dataset_roots=text).dataset_roots == roots


@pytest.mark.parametrize("text", ["[1]", '["/a"', "{}x,"])
def test_broken_roots_stop_the_start_or_are_plain_names(load, text):
    if text.startswith("["):
        with pytest.raises((ValidationError, ValueError)):
            load(dataset_roots=text)
    else:
        assert load(dataset_roots=text).dataset_roots == ["{}x"]


def test_the_service_listens_on_loopback_and_allows_no_folder_unless_told(load):
    settings = load()
    assert (settings.host, settings.dataset_roots) == ("127.0.0.1", [])


def test_settings_are_frozen(load):
    with pytest.raises(ValidationError, match="frozen"):
        load().lease_s = 1


def test_what_has_no_default_must_be_said():
    with pytest.raises(ValidationError, match="blob_url"):
        JobsSettings(database_url="sqlite://")


@pytest.mark.parametrize("wrong", [{"lease_s": "0"}, {"lease_s": "soon"}, {"max_body_bytes": "-1"}, {"port": "70000"}])
def test_wrong_values_stop_the_start_without_being_shown(load, wrong):
    with pytest.raises(ValidationError) as caught:
        load(**wrong)
    assert "hunter2" not in str(caught.value)
    assert next(iter(wrong)) in str(caught.value)
