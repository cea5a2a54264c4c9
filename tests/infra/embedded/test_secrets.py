import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.embedded.errors import PlatformError
from infra.embedded.secrets import secret_in, write_private
from shared.kit.auth import is_secret


def test_a_secret_is_made_once_and_is_the_owners_alone(tmp_path: Path) -> None:
    secret = secret_in(tmp_path / "key")
    assert is_secret(secret)
    assert secret_in(tmp_path / "key") == secret
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_of_many_that_race_all_get_the_same(tmp_path: Path) -> None:
    for number in range(20):
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(lambda _, path=tmp_path / str(number): secret_in(path), range(8)))) == 1
    assert len(list(tmp_path.iterdir())) == 20, "no temporary file is left"


def test_a_file_that_others_may_read_is_closed(tmp_path: Path) -> None:
    secret_in(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    secret_in(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "pf_short", "x" * 60])
def test_a_file_without_a_key_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(PlatformError, match="holds no key"):
        secret_in(tmp_path / "key")


def test_private_files_are_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    write_private(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
