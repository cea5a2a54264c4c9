"""Real conversions with Sony's converter, of small networks, one for each way to fail. `test_run` converts PicoSAM2."""

import dataclasses
import os
import time
from pathlib import Path

import psutil
import pytest

from shared.kit.toolchain.place import Place
from tests.workers.packaging.networks import BicubicNet, CumulativeNet, TinyNet, WideNet, unquantized, with_bits
from workers.harness.context import Stopped
from workers.harness.errors import JobFailed
from workers.packaging.converter import Limits, convert

pytestmark = [pytest.mark.converter, pytest.mark.slow, pytest.mark.timeout(1500)]
MIB = 1024**2


def descendants() -> list[psutil.Process]:
    return psutil.Process(os.getpid()).children(recursive=True)


def javas() -> list[psutil.Process]:
    """The Java machines that this process's conversion runs now."""
    return [process for process in descendants() if process.name() == "java"]


def test_a_network_is_converted_and_fits(conversions, network):
    found = conversions.run(network(TinyNet))
    assert found.memory.fits
    assert found.memory.available_bytes == 8 * MIB - 128
    (placed,) = found.networks
    assert placed.name == "network"
    assert (placed.inputs[0].scale, placed.inputs[0].signed, placed.inputs[0].shape) == (1 / 256, False, (3, 96, 96))
    assert found.output is not None
    assert found.output.networks == found.networks
    assert {path.name for path in found.folder.iterdir()} >= {"packerOut.zip", "dnnParams.xml", "network_MemoryReport.json"}
    assert [step.done for step in conversions.stages] == [0, 1, 2, 3, 4, 5]
    assert 300 * MIB < found.peak_bytes < 2000 * MIB
    assert (found.converter, found.toolchain_digest) == ("3.19.2", conversions.place.ready().mark.digest)
    assert conversions.left_behind == [found.folder.name]

    conversions.folder = conversions.folder / "two words" / "it's"
    conversions.folder.mkdir(parents=True)
    again = conversions.run(network(TinyNet)).output
    assert again is not None
    assert again.content_digest == found.output.content_digest, "the same but for the stamps, wherever it is made"
    assert [file.md5 for file in again.files] == [file.md5 for file in found.output.files]
    assert len(conversions.left_behind) == 1


def test_a_report_alone_has_no_output(conversions, network):
    found = conversions.run(network(TinyNet), report_only=True, input_persistency=False)
    assert found.output is None
    assert not (found.folder / "packerOut.zip").exists()
    assert not found.memory.input_persistent
    assert found.networks[0].inputs[0].persistent is False
    assert conversions.left_behind == [found.folder.name]


def test_an_unsupported_operator_is_told_with_its_place(conversions, network):
    with pytest.raises(JobFailed) as caught:
        conversions.run(network(CumulativeNet))
    assert caught.value.error.type == "unsupported_operator"
    assert "no operator CumSum: CumSum in the node /CumSum, behind the layer body.2" in caught.value.error.message
    assert conversions.lines[0].message.startswith("Running version 3.19")
    assert conversions.lines[-1].code == "USOP"
    assert conversions.left_behind == []


def test_a_form_of_an_operator_that_is_unsupported_is_told_with_its_place(conversions, network):
    with pytest.raises(JobFailed, match=r"Resize in the node /Resize, behind the layer body\.2: mode cubic") as caught:
        conversions.run(network(BicubicNet))
    assert caught.value.error.type == "unsupported_operator"


def test_bit_widths_that_the_sensor_lacks_are_told_with_their_layers(conversions, network, tmp_path):
    wrong = with_bits(network(TinyNet), tmp_path / "wrong.onnx", behind="body_1", bits=16)
    with pytest.raises(JobFailed, match=r"Conv in the layer body\.2: 16 bits") as caught:
        conversions.run(wrong, report_only=True)
    assert caught.value.error.type == "unsupported_bits"
    assert "8-bit activations" in caught.value.error.hint


def test_what_is_too_large_is_told_with_what_it_needs(conversions, network):
    with pytest.raises(JobFailed, match=r"needs 12\.85 MB of the sensor's memory, which has 8\.00 MB \(161%\)") as caught:
        conversions.run(network(WideNet, side=320), report_only=True)
    assert caught.value.error.type == "does_not_fit"
    assert "240x240 instead of 320x320" in caught.value.error.hint
    assert conversions.left_behind == []


def test_a_float_network_is_refused_before_the_converter_starts(conversions, tmp_path):
    with pytest.raises(JobFailed) as caught:
        conversions.run(unquantized(tmp_path / "model.onnx"))
    assert caught.value.error.type == "not_quantized"
    assert conversions.lines == []


def test_a_conversion_that_takes_too_long_is_ended(conversions, network):
    with pytest.raises(JobFailed, match=r"after \d+ s, in the stage") as caught:
        conversions.run(network(TinyNet), limits=Limits(seconds=3))
    assert caught.value.error.type == "converter_timeout"
    assert javas() == []
    assert conversions.left_behind == []


def test_a_cancel_ends_all_its_processes_at_once(conversions, network):
    seen: list[tuple[float, list[psutil.Process]]] = []
    others = descendants()  # servers of other tests

    def stop() -> bool:
        if not seen and len(javas()) == 2:  # one waits for the other
            seen.append((time.monotonic(), [process for process in descendants() if process not in others]))
        return bool(seen)

    conversions.stop = stop
    with pytest.raises(Stopped):
        conversions.run(network(TinyNet))
    (asked, family) = seen[0]
    assert time.monotonic() - asked < 15
    assert not any(process.is_running() for process in family)
    assert conversions.left_behind == []


def test_a_converter_that_takes_too_much_memory_is_ended(conversions, network):
    with pytest.raises(JobFailed, match=r"may use 300\.00 MB") as caught:
        conversions.run(network(TinyNet), limits=Limits(memory_bytes=300 * MIB))
    assert caught.value.error.type == "converter_out_of_memory"
    assert javas() == []


def test_a_java_that_is_out_of_memory_is_told_apart_from_a_crash(conversions, network, monkeypatch):
    monkeypatch.setattr("workers.packaging.converter._HEAP_SHARE", 0.005)  # 20 MB: too little to read the network
    with pytest.raises(JobFailed) as caught:
        conversions.run(network(TinyNet))
    assert caught.value.error.type == "converter_out_of_memory"


def test_a_crash_is_told_in_the_converters_words(conversions, network):
    killed: list[int] = []

    def kill() -> bool:
        if not killed and len(found := javas()) == 2:
            killed.append(found[-1].pid)
            found[-1].kill()
        return False

    conversions.stop = kill
    with pytest.raises(JobFailed) as caught:
        conversions.run(network(TinyNet))
    assert caught.value.error.type == "converter_crashed"
    assert len(caught.value.error.message) > 40
    assert "log" in caught.value.error.hint


def test_without_a_toolchain_nothing_is_converted(network, tmp_path):
    with pytest.raises(JobFailed) as caught:
        convert(
            Place(tmp_path / "imx500"), network(TinyNet), tmp_path / "out", network="tiny", stop_requested=lambda: False,
            report=lambda _: None, say=lambda _: None,
        )  # fmt: skip
    assert caught.value.error.type == "toolchain_missing"
    assert "picofleet toolchain install" in caught.value.error.hint


@pytest.mark.usefixtures("toolchain")
def test_without_java_nothing_is_converted(toolchain, network, tmp_path, monkeypatch):
    if toolchain.java().source == "wheel":
        pytest.skip("this toolchain has a Java of its own")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobFailed) as caught:
        convert(
            dataclasses.replace(toolchain, java_home=None), network(TinyNet), tmp_path / "out", network="tiny",
            stop_requested=lambda: False, report=lambda _: None, say=lambda _: None,
        )  # fmt: skip
    assert caught.value.error.type == "java_missing"


@pytest.mark.parametrize("name", ["", "9", "a b", "../a", "a" * 64])
def test_a_network_needs_a_plain_name(tmp_path, name):
    with pytest.raises(ValueError, match="name"):
        convert(
            Place(tmp_path), Path("model.onnx"), tmp_path / "out", network=name, stop_requested=lambda: False,
            report=lambda _: None, say=lambda _: None,
        )  # fmt: skip


def test_the_installed_toolchain_is_what_its_mark_says(toolchain):
    from shared.kit.toolchain import contents

    assert toolchain.told_version() == "3.19.2"
    assert contents.digest(toolchain.packages, toolchain.pins.packages) == toolchain.ready().mark.digest
