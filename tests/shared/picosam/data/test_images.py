import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from shared.picosam.data import images
from shared.picosam.data.images import ImageProblem, decode_labels, decode_rgb, read_bytes


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(dtype=np.uint8, scale=1):
    return (np.arange(12 * 16).reshape(12, 16) * scale).astype(dtype)


def test_rgb_comes_as_it_is_stored():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    assert np.array_equal(decode_rgb(encoded(Image.fromarray(pixels)), "a"), pixels)


def test_exif_rotation_is_ignored_as_by_cocos_tools():
    pixels = np.zeros((12, 16, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_rgb(encoded(Image.fromarray(pixels), "JPEG", exif=exif), "a").shape == (12, 16, 3)


def test_grey_becomes_three_equal_channels():
    decoded = decode_rgb(encoded(Image.fromarray(ramp())), "a")
    assert np.array_equal(decoded, np.repeat(ramp()[..., None], 3, axis=2))


def test_sixteen_bit_grey_keeps_its_upper_byte():
    decoded = decode_rgb(encoded(Image.fromarray(ramp(np.uint16, 256))), "a")
    assert np.array_equal(decoded[..., 0], ramp())


def test_transparency_is_dropped_and_the_colour_under_it_stays():
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[..., 3] = 0
    assert (decode_rgb(encoded(Image.fromarray(pixels)), "a") == 200).all()


@pytest.mark.parametrize("mode", ["CMYK", "P", "1", "LA", "L", "YCbCr"])
def test_all_common_modes_become_rgb(mode):
    image = Image.fromarray(ramp()).convert("RGB").convert(mode)
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    decoded = decode_rgb(encoded(image, kind), "a")
    assert (decoded.shape, decoded.dtype) == ((12, 16, 3), np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.9])
def test_a_cut_file_is_named_and_never_half_decoded(kind, kept):
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    with pytest.raises(ImageProblem, match=r"a\.jpg") as caught:
        decode_rgb(content[: int(len(content) * kept)], "a.jpg")
    assert caught.value.kind == "unreadable_image"


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_decode_or_are_named(seed):
    rng = np.random.default_rng(seed)
    content = bytearray(encoded(Image.fromarray(ramp()), ["JPEG", "PNG", "TIFF", "WEBP", "BMP"][seed % 5]))
    for place in rng.integers(0, len(content), 10):
        content[place] = rng.integers(0, 256)
    with contextlib.suppress(ImageProblem):
        assert decode_rgb(bytes(content), "a").shape[2] == 3


def test_formats_that_are_not_asked_for_stay_closed():
    with pytest.raises(ImageProblem, match="is none of JPEG"):
        decode_rgb(encoded(Image.fromarray(ramp()), "PPM"), "a.jpg")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    with pytest.raises(ImageProblem) as caught:
        decode_rgb(content, "bomb.png")
    assert caught.value.kind == "image_too_large"


def test_a_file_of_too_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 10)
    (tmp_path / "a.png").write_bytes(b"x" * 11)
    with pytest.raises(ImageProblem, match="has 11 bytes"):
        read_bytes(tmp_path / "a.png")


def test_labels_are_read_from_grey_and_palettes_and_not_from_colours():
    palette = Image.fromarray(ramp()).convert("P")
    palette.putpalette([0, 0, 0] * 256)
    assert np.array_equal(decode_labels(encoded(Image.fromarray(ramp())), "a"), ramp())
    assert decode_labels(encoded(Image.fromarray(ramp(np.uint16, 300))), "a").max() == 191 * 300
    assert decode_labels(encoded(palette), "a").shape == (12, 16)
    with pytest.raises(ImageProblem, match="RGB image"):
        decode_labels(encoded(Image.fromarray(ramp()).convert("RGB")), "a")
