import zipfile

import pytest

from shared.archives import Limits
from shared.picosam.data.archives import unpack
from shared.picosam.data.errors import ArchiveRefused, DataError, Stopped


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w") as made:
        made.writestr("images/1.jpg", b"one")
    return tmp_path / "archive"


def test_a_refusal_is_an_error_of_the_data_with_a_hint(archive, tmp_path):
    with pytest.raises(ArchiveRefused, match="deeper than 1 folders") as refused:
        unpack(archive, tmp_path / "out", limits=Limits(max_depth=1))
    assert isinstance(refused.value, DataError)
    assert "plain zip or tar" in refused.value.hint


def test_stopping_leaves_nothing_behind(archive, tmp_path):
    with pytest.raises(Stopped):
        unpack(archive, tmp_path / "out", stop=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
