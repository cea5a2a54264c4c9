"""What LVIS says beside its objects: from the annotation file into the prepared windows."""

import pytest

from shared.contracts.datasets import DatasetFormat
from shared.contracts.windows import WindowPolicy
from shared.picosam.data.errors import DataError
from shared.picosam.data.lvis import Federation
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, prepare

POLICY = ShardPolicy(window=WindowPolicy())


@pytest.fixture
def lvis(coco, a_row, an_image):
    """Two images with an object each, and one without."""
    folder = coco(a_row(1, image=1), a_row(2, image=2, category_id=7), images=3)
    folder.format = DatasetFormat.LVIS
    said = [{"neg_category_ids": [9, 7, 8]}, {"not_exhaustive_category_ids": [7]}, {"neg_category_ids": [1]}]
    folder.images = [an_image(number) | each for number, each in enumerate(said, start=1)]
    folder.categories = [{"id": each, "name": f"kind {each}", "frequency": letter} for each, letter in ((1, "r"), (7, "f"))]
    return folder


def windows(folder, out, policy=POLICY):
    imported = folder.load()
    return prepare(imported.manifest_path, folder.root, "all", policy, out, digest=imported.digest)


def test_windows_know_what_lvis_says_of_their_images(lvis, tmp_path):
    reader = windows(lvis, tmp_path / "windows")
    assert reader.federation == Federation(frequencies={1: "r", 7: "f"}, negative={1: (9, 7, 8)}, unfinished={2: (7,)})
    assert "federation.json" in reader.files()  # so that it travels to other workers
    again = windows(lvis, tmp_path / "again")
    assert again.files()["federation.json"].read_bytes() == reader.files()["federation.json"].read_bytes()


def test_windows_of_coco_datasets_have_the_files_that_they_had(coco, a_row, tmp_path):
    reader = windows(coco(a_row(1)), tmp_path / "windows")
    assert reader.federation is None
    assert set(reader.files()) == {"images-00000.npy", "masks-00000.npy", "index.npz", "meta.json"}


def test_a_damaged_file_is_refused(lvis, tmp_path):
    windows(lvis, tmp_path / "windows")
    (tmp_path / "windows/federation.json").write_bytes(b'{"frequencies":{"1":"x"}}')
    with pytest.raises(DataError, match="no prepared windows"):
        ShardReader(tmp_path / "windows")
