import json
from pathlib import Path

import pytest

from shared.client.config import connection, platform_of
from shared.client.errors import ClientError, NotReachable


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "admin.key").write_text("pf_secret\n")
    urls = {"jobs_url": "http://127.0.0.1:8001", "inference_url": "http://127.0.0.1:8002", "mlflow_url": "http://m"}
    urls["fleet_url"] = "http://127.0.0.1:8004"
    platform = urls | {"admin_key_file": str(tmp_path / "admin.key")}
    (tmp_path / "platform.json").write_text(json.dumps(platform))
    return tmp_path


def test_the_platform_of_the_home_is_found_with_its_key(home: Path) -> None:
    found = connection(home, None, None)
    assert (found.url, found.api_key, found.mlflow_url) == ("http://127.0.0.1:8001", "pf_secret", "http://m")


def test_its_admin_key_is_never_sent_to_another_service(home: Path) -> None:
    found = connection(home, "http://elsewhere:8001", None)
    assert (found.api_key, found.mlflow_url) == (None, None)


def test_the_platforms_own_url_may_be_written_out(home: Path) -> None:
    assert connection(home, "http://127.0.0.1:8001/", None).api_key == "pf_secret"


def test_the_platforms_inference_service_is_found_with_its_key(home: Path) -> None:
    found = connection(home, None, None)
    assert (found.inference_url, found.inference_key) == ("http://127.0.0.1:8002", "pf_secret")


def test_behind_a_gateway_one_url_is_enough(home: Path) -> None:
    found = connection(home, "https://fleet.example", "pf_other")
    assert (found.inference_url, found.inference_key) == ("https://fleet.example", "pf_other")


def test_the_admin_key_is_not_sent_to_another_inference_service(home: Path) -> None:
    found = connection(home, None, None, "http://elsewhere:8002")
    assert (found.api_key, found.inference_url, found.inference_key) == ("pf_secret", "http://elsewhere:8002", None)
    assert connection(home, None, "pf_other", "http://elsewhere:8002").inference_key == "pf_other"


def test_an_inference_url_that_is_none_is_refused(home: Path) -> None:
    with pytest.raises(ClientError, match="is not a URL"):
        connection(home, None, None, "file:///etc/passwd")


def test_a_platform_of_before_the_inference_service_still_works(home: Path) -> None:
    description = json.loads((home / "platform.json").read_text())
    del description["inference_url"]
    (home / "platform.json").write_text(json.dumps(description))
    assert connection(home, None, None).inference_url == "http://127.0.0.1:8001"


def test_the_platforms_fleet_service_is_found_with_its_key(home: Path) -> None:
    found = connection(home, None, None)
    assert (found.fleet_url, found.fleet_key) == ("http://127.0.0.1:8004", "pf_secret")
    elsewhere = connection(home, None, None, None, "http://elsewhere:8004/")
    assert (elsewhere.fleet_url, elsewhere.fleet_key, elsewhere.inference_key) == ("http://elsewhere:8004", None, "pf_secret")
    gateway = connection(home, "https://fleet.example", "pf_other")
    assert (gateway.fleet_url, gateway.fleet_key) == ("https://fleet.example", "pf_other")


def test_a_given_key_goes_before_the_file(home: Path) -> None:
    assert connection(home, None, "pf_other").api_key == "pf_other"


def test_without_url_and_platform_nobody_is_reachable(tmp_path: Path) -> None:
    with pytest.raises(NotReachable, match="No platform is up") as caught:
        connection(tmp_path, None, None)
    assert "picofleet up" in caught.value.hint


def test_an_unreadable_key_is_named(home: Path) -> None:
    (home / "admin.key").unlink()
    with pytest.raises(ClientError, match=r"admin\.key cannot be read"):
        connection(home, None, None)


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_description_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "platform.json").write_text(content)
    assert platform_of(tmp_path) == {}
