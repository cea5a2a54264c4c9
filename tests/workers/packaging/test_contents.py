"""Packages out of parts: what is in them, and that the same parts give the same bytes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from shared.contracts.packages import CONVERTED
from shared.contracts.packaging import PackagingSpec
from shared.contracts.windows import WindowPolicy
from shared.kit.packages.converted import read_converted
from shared.kit.packages.folder import listed
from shared.kit.packages.tars import pack
from shared.picosam.golden import Frames
from shared.picosam.quantization.sensor_files import Quantizer
from shared.picosam.weights import ModelConfig
from tests.shared.kit.packages.making import a_converted_zip
from tests.workers.packaging.test_memory_report import GOLDEN
from workers.harness.errors import JobFailed
from workers.packaging import contents
from workers.packaging.bill import bill_of
from workers.packaging.converter import Conversion
from workers.packaging.converting import check_tensors, network_name
from workers.packaging.history import History, Version
from workers.packaging.inputs import SensorModel
from workers.packaging.intrinsics import intrinsics_of, roi_of
from workers.packaging.made import Made
from workers.packaging.memory_report import parse_memory_report
from workers.packaging.model_card import render

DIGEST = "sha256:" + "a" * 64
TRAIN, VAL = f"coco/train@{DIGEST}", f"coco/val@{DIGEST}"


def a_history():
    figures = {"miou_96": 0.41, "float/miou_96": 0.42, "miou_96_drop": 0.01, "agreement_mask": 0.97, "size_bytes": 1.26e6}
    quantized = Version(
        name="picosam2.imx500/3",
        description="picosam2/2, quantized for imx500 by ptq",
        tags={"picofleet.calibration": TRAIN, "picofleet.validation": VAL},
        figures=figures,
        parameters={"method": "ptq", "calibration.samples": "160"},
    )
    trained = Version(
        name="picosam2/2",
        description="a | network",
        tags={"picofleet.train": TRAIN},
        figures={},
        parameters={"recipe.seed": "0"},
    )
    return History(versions=(quantized, trained), pictures={}, packages={"torch": "2.13.0", "numpy": "2.4.6", "onnx": "1.23.2"})


@pytest.fixture
def parts(tmp_path):
    """Makes all parts: ``parts(stamp=...)``."""
    (tmp_path / "reference.onnx").write_bytes(bytes(range(256)) * 8)

    def make(*, stamp="Wed Nov 25 04:36:29 UTC 2026", **spec):
        folder = tmp_path / f"converted-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / CONVERTED).write_bytes(a_converted_zip(stamp=stamp))
        (folder / "picosam2_MemoryReport.json").write_bytes((GOLDEN / "fits.json").read_bytes())
        output = read_converted(folder / CONVERTED)
        body = {"model": "picosam2.imx500/3", "golden": {"dataset": {"dataset": "coco", "split": "val"}}} | spec
        wanted, config = PackagingSpec.model_validate(body), ModelConfig(quantization="fake_quant")
        random = np.random.default_rng(0)
        return Made(
            spec=wanted,
            model=SensorModel(
                name="picosam2.imx500/3",
                config=config,
                network=tmp_path / "unused",
                reference=tmp_path / "reference.onnx",
                layers=(),
            ),
            conversion=Conversion(
                memory=parse_memory_report((GOLDEN / "fits.json").read_bytes()),
                networks=output.networks,
                output=output,
                folder=folder,
                converter="3.19.2",
                toolchain_digest=DIGEST,
                java="17.0.9",
                seconds=60.0,
                peak_bytes=1_200_000_000,
            ),
            frames=Frames(
                windows=random.integers(0, 256, (8, 96, 96, 3), dtype=np.uint8),
                codes=random.integers(-128, 128, (8, 96, 96)).astype(np.int8),
                step=1 / 512,
                mistakes={"bgr": 0.54, "contrast": 0.33, "shift": 0.52},
            ),
            golden_data=VAL,
            intrinsics=intrinsics_of(wanted, config),
            history=a_history(),
        )

    return make


def written(made, folder, job="01a20397-16a2-725e-8ae8-f32d8327209b"):
    folder.mkdir()
    contents.write(made, folder / "package", job=job, git_commit="703da65+changes")
    return folder / "package"


def test_the_same_parts_give_the_same_bytes_and_converting_again_differs_by_its_stamps_alone(parts, tmp_path):
    first, same = written(parts(), tmp_path / "a"), written(parts(), tmp_path / "b")
    for package in (first, same):
        pack(package, package.with_suffix(".tar"))
    assert first.with_suffix(".tar").read_bytes() == same.with_suffix(".tar").read_bytes()
    later = written(parts(stamp="Thu Nov 26 05:00:00 UTC 2026"), tmp_path / "c")
    files, again = listed(first), listed(later)
    assert files.keys() == again.keys()
    differ = {place for place in files if files[place].read_bytes() != again[place].read_bytes()}
    assert differ == {"packerOut.zip", "manifest.json"}  # the latter names the former's digest
    stamps = json.loads(files["manifest.json"].read_bytes())["converter"]["stamps"]
    assert any("Date Info" in stamp for stamp in stamps)
    assert read_converted(files[CONVERTED]).content_digest == read_converted(again[CONVERTED]).content_digest


def test_the_bill_of_materials_is_cyclonedx(parts):
    text = bill_of(parts()).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    model = bill["metadata"]["component"]
    assert [each["ref"] for each in model["modelCard"]["modelParameters"]["datasets"]] == [DIGEST]
    shown = {each["type"]: each["value"] for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert shown == {"miou_96": "0.41", "miou_96_drop": "0.01", "agreement_mask": "0.97"}
    parts_by_name = {part["name"]: part for part in bill["components"]}
    assert parts_by_name.keys() == {"coco", "torch", "onnx", "imx500-converter"}
    assert parts_by_name["torch"]["purl"] == "pkg:pypi/torch@2.13.0"


def test_the_bill_of_a_version_of_which_nothing_is_known_is_cyclonedx_too(parts):
    made = parts()
    unknown = replace(made.history.quantized, tags={}, figures={}, parameters={})
    bare = replace(made, history=History(versions=(unknown,), pictures={}, packages={}))
    assert b"performanceMetrics" in bill_of(bare)
    assert "The registry has none of this version." in render(bare, [])


def test_the_model_card_says_what_it_is_for_what_it_is_worth_and_where_it_comes_from(parts):
    card = render(parts(notes="Doors of a warehouse.", labels=["door"]), ["memory"])
    for part in (
        "# picosam2: picosam2.imx500/3 for the Sony IMX500",
        "Doors of a warehouse.",
        "| `miou_96` | 0.4200 | 0.4100 | mean IoU with the true masks |",
        "| `agreement_mask` |  | 0.9700 |",
        "44.4% of the sensor's memory",
        "| red and blue swapped | 54.0% |",
        "| picosam2.imx500/3 | picosam2/2, quantized for imx500 by ptq | method ptq, calibration.samples 160 |",
        "| picosam2/2 | a \\| network | recipe.seed 0 |",
        f"| coco/train | train | `{DIGEST}` |",
        "Labels: door.",
        "![The sensor's memory.](pictures/memory.png)",
    ):
        assert part in card, part


def test_a_network_that_takes_bgr_says_so(parts):
    made = parts(input_format="BGR")
    assert made.intrinsics.picofleet.input.color_order == "BGR"
    assert "input, BGR" in render(made, [])


@pytest.mark.parametrize(
    ("window", "share", "prompt"),
    [
        (WindowPolicy(), 0.15, "point"),
        (WindowPolicy(side=128), 0.2, "point"),
        (WindowPolicy(side=None), 0.15, "point"),
        (WindowPolicy(prompt="box", box_margin=0.2), 0.15, "box"),
    ],
)
def test_the_region_of_interest_is_what_the_network_was_trained_on(window, share, prompt):
    roi = roi_of(window)
    assert (roi.side_share, roi.prompt, roi.box_margin, roi.border.value) == (share, prompt, window.box_margin, "shrink")


@pytest.mark.parametrize(
    ("line", "name"), [("picosam2", "picosam2"), ("my-net.v2", "my_net_v2"), ("9", "n9"), ("a" * 63, "a" * 63)]
)
def test_the_sensor_s_name_of_a_line_is_one_that_the_converter_takes(line, name):
    assert network_name(line) == name


def test_tensors_that_are_not_the_reference_s_are_refused(parts):
    conversion = parts().conversion
    check_tensors(conversion, 96, Quantizer(tensor="logits", bits=8, signed=True, scale=1 / 512))
    for size, scale, signed in ((64, 1 / 512, True), (96, 1 / 256, True), (96, 1 / 512, False)):
        with pytest.raises(JobFailed, match="the reference has 8 bits"):
            check_tensors(conversion, size, Quantizer(tensor="logits", bits=8, signed=signed, scale=scale))
