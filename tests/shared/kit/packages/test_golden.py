"""Golden frames tell a right input from a wrong one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.packages import GoldenTolerance
from shared.kit.packages.errors import FileDiffers, FileMissing, ManifestInvalid
from shared.kit.packages.golden import agreement, passes, read_golden


def test_frames_come_with_their_codes(package):
    golden = read_golden(package)
    assert golden.described.output_scale == 0.25
    assert golden.frame(1) == (bytes(range(192)), bytes(range(64)))
    with pytest.raises(IndexError, match="no frame 2"):
        golden.frame(2)


@given(codes=st.lists(st.integers(-128, 127), min_size=1), moved=st.integers(-8, 8), dtype=st.sampled_from(["int8", "uint8"]))
def test_codes_agree_within_as_many_steps_as_allowed(codes, moved, dtype):
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    signed = dtype == "int8"
    expected = [code if signed else code + 128 for code in codes]
    found = [min(max(code + moved, low), high) for code in expected]
    near = sum(abs(left - right) <= 2 for left, right in zip(expected, found, strict=True))
    as_bytes = [b"".join(code.to_bytes(1, "little", signed=signed) for code in each) for each in (expected, found)]
    assert agreement(*as_bytes, dtype, 2) == near / len(codes)


def test_nine_in_ten_within_two_steps_pass(package):
    golden = read_golden(package)
    right = golden.outputs
    assert passes(golden, bytes(code + 2 for code in right), GoldenTolerance())
    assert not passes(golden, bytes(code + 3 for code in right), GoldenTolerance())
    share = len(right) // 10
    assert passes(golden, bytes(100 for _ in right[:share]) + right[share:], GoldenTolerance())
    assert not passes(golden, bytes(100 for _ in right[: share + 2]) + right[share + 2 :], GoldenTolerance())
    with pytest.raises(ValueError, match="argument"):
        passes(golden, right[:-1], GoldenTolerance())


def test_frames_that_are_not_as_described_are_refused(package):
    path = package / "golden/outputs.bin"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(FileDiffers, match=r"golden/outputs\.bin"):
        read_golden(package)
    path.unlink()
    with pytest.raises(FileMissing, match=r"golden/outputs\.bin"):
        read_golden(package)
    told = json.loads((package / "golden/golden.json").read_bytes())
    (package / "golden/golden.json").write_text(json.dumps(told | {"output_scale": "much"}))
    with pytest.raises(ManifestInvalid, match=r"golden/golden\.json: output_scale"):
        read_golden(package)
