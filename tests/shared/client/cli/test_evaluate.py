"""`picofleet evaluate`: no service, no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.client.cli.main import app, main
from tests.shared.picosam.lvis_form import rectangle

GOLDEN = Path(__file__).parents[2] / "picosam/predictions/golden"
ANNOTATIONS = ("--annotations", str(GOLDEN / "instances.json"))


def run(*arguments: str) -> str:
    ended = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_json_holds_figures_and_every_sample() -> None:
    found = json.loads(run(str(GOLDEN / "windows.json"), *ANNOTATIONS, "--json"))
    assert found["figures"]["miou_96"] == pytest.approx((1 / 2 + 1 / 3 + 38 / 48 + 0) / 4)
    assert [row["annotation_id"] for row in found["samples"]] == [11, 12, 13, 21]
    assert (found["frame"], found["border"], found["skipped_images"]) == ("window", "authors", 1)


def test_people_read_a_table_of_the_rule_they_asked_for() -> None:
    shown = run(str(GOLDEN / "windows.json"), *ANNOTATIONS, "--border", "pad")
    assert "miou_96_pad" in shown
    assert "rule pad" in shown


def test_lvis_annotations_give_lviss_figures(tmp_path: Path) -> None:
    content = json.loads((GOLDEN.parents[1] / "golden/lvis.json").read_text())["annotations"]
    assert all("file_name" not in image for image in content["images"])
    assert all("iscrowd" not in row for row in content["annotations"])
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    entries = [
        {"annotation_id": row["id"], "score": 0.9, "segmentation": rectangle(*row["bbox"])}
        | {key: row[key] for key in ("image_id", "category_id")}
        for row in content["annotations"]
    ]
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    found = json.loads(run(str(tmp_path / "entries.json"), "--annotations", str(tmp_path / "lvis.json"), "--json"))["figures"]
    for name in ("lvis_ap", "lvis_ap_rare", "lvis_ap_common", "lvis_ap_frequent", "lvis_ar_300", "mask_ap", "mask_ap_rare"):
        assert found[name] == pytest.approx(1.0), name
    assert "lvis_ap_rare" in run(str(tmp_path / "entries.json"), "--annotations", str(tmp_path / "lvis.json"))


def test_a_bad_file_is_exit_code_2_with_its_place(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.json").write_text('[{"image_id": 7, "segmentation": {"size": [1, 1], "counts": [1]}}]')
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(tmp_path / "bad.json"), *ANNOTATIONS])
    told = capfd.readouterr().err
    assert caught.value.code == 2
    assert "entry 0 (image 7), field segmentation.size" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("arguments", [["nowhere.json", *ANNOTATIONS], [str(GOLDEN / "windows.json")]], ids=["file", "option"])
def test_what_is_missing_is_wrong_usage(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["evaluate", *arguments]).exit_code == 2


def test_torch_is_not_imported() -> None:
    code = (
        "import sys\nfrom shared.client.cli.main import app\n"
        f"app(['evaluate', {str(GOLDEN / 'windows.json')!r}, *{ANNOTATIONS!r}, '--json'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
