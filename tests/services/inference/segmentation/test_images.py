"""Image files of all kinds become the windows that a viewer would show, or a clear refusal."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

from services.inference.segmentation.errors import BadImage, ImageTooLarge
from services.inference.segmentation.images import MAX_SIDE, Photo
from shared.contracts.windows import Border
from shared.picosam.prompt import Window, extract, point_window
from tests.services.inference.segmentation.conftest import file_of, picture

LIMIT = 4_000_000


def cut(content, *windows, size=96):
    return Photo(content, max_pixels=LIMIT).decoded_for(list(windows), size).cut()


def box(x0, y0, x1, y1):
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=Border.PAD, clipped=False)


def as_seen(content):
    """All of an image of 96 x 96 pixels."""
    return cut(content, box(0, 0, 96, 96))[0].astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("side", [96, 130, 520])
def test_windows_lie_in_the_upright_picture_whichever_way_the_camera_was_held(orientation, format, side):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(picture(1003, 701), format, exif=exif)
    with Image.open(io.BytesIO(content)) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    photo = Photo(content, max_pixels=LIMIT)
    assert photo.shape == upright.shape[:2]
    windows = [point_window((x, y), photo.shape, side=side) for x, y in [(0, 0), (350, 351), (700, 600), (690, 20)]]
    seen = photo.decoded_for(windows, 96).cut().astype(int)
    wanted = np.stack([extract(upright, window) for window in windows]).astype(int)
    assert np.abs(seen - wanted).mean() < (0.6 if side < 200 else 2.5)


def test_a_window_of_the_network_s_size_is_the_image_s_own_pixels():
    image = picture()
    assert (cut(file_of(image, "PNG"), box(50, 60, 146, 156))[0] == np.asarray(image)[60:156, 50:146]).all()


@pytest.mark.parametrize("side", [20, 95, 97, 191])
def test_windows_that_are_not_made_smaller_by_half_are_within_a_grey_level_of_the_ml_core_s(side):
    image = picture()
    windows = [point_window(point, (200, 300), side=side) for point in [(0, 0), (150, 100), (299, 199)]]
    wanted = np.stack([extract(np.asarray(image), window) for window in windows]).astype(int)
    assert np.abs(cut(file_of(image, "PNG"), *windows).astype(int) - wanted).max() <= 1


def test_large_and_small_windows_of_one_photo_are_each_cut_from_what_suits_them():
    image = picture(1600, 1200)
    small, large = box(100, 100, 196, 196), box(-100, 0, 1500, 1600)
    together = cut(file_of(image, "PNG"), small, large)
    assert (together[0] == np.asarray(image)[100:196, 100:196]).all()
    assert np.abs(together[1].astype(int) - extract(np.asarray(image), large)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_every_mode_becomes_rgb_as_pillow_has_it(mode):
    image = picture(96, 96).convert("L").convert(mode) if mode in ("1", "LA") else picture(96, 96).convert(mode)
    content = file_of(image, "JPEG" if mode == "CMYK" else "PNG")
    with Image.open(io.BytesIO(content)) as opened:
        assert (as_seen(content) == np.asarray(opened.convert("RGB"))).all()


def test_sixteen_bit_grey_keeps_its_upper_byte():
    levels = (np.arange(96 * 96, dtype=np.uint16) * 7).reshape(96, 96)
    seen = as_seen(file_of(Image.fromarray(levels), "PNG"))
    assert (seen == (levels // 256)[:, :, None]).all()


def test_what_transparency_hides_is_seen():
    hidden = picture(96, 96)
    wanted = np.asarray(hidden)
    hidden.putalpha(0)
    assert (as_seen(file_of(hidden, "PNG")) == wanted).all()


def test_a_jpeg_decodes_to_pillow_s_pixels():
    content = file_of(picture(96, 96), "JPEG", quality=90)
    with Image.open(io.BytesIO(content)) as opened:
        assert (as_seen(content) == np.asarray(opened)).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.95])
def test_a_file_that_was_cut_off_is_refused(format, share):
    content = file_of(picture(), format)
    with pytest.raises(BadImage):
        cut(content[: int(share * len(content))], box(0, 0, 96, 96))


@pytest.mark.parametrize("format", ["BMP", "GIF", "TIFF", "PPM"])
def test_other_formats_stay_closed(format):
    with pytest.raises(BadImage, match="none of JPEG, PNG and WebP"):
        cut(file_of(picture(), format), box(0, 0, 96, 96))


def png_header(width, height):
    """A PNG that claims this size, and unpacks to it: a few hundred bytes of zeros, compressed."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    packed = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("width", "height"), [(2001, 2000), (10_000, 9_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (MAX_SIDE + 1, 1)]
)
def test_an_image_of_too_many_pixels_is_refused_by_its_header_alone(width, height):
    with pytest.raises(ImageTooLarge):
        Photo(png_header(width, height), max_pixels=LIMIT)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_hide_an_image_that_is_well():
    content = file_of(picture(96, 96), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 20)
    assert as_seen(content).shape == (96, 96, 3)


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_gives_pixels_or_a_refusal_and_nothing_else(seed):
    draw = np.random.default_rng(seed)
    content = bytearray(file_of(picture(120, 100), ["JPEG", "PNG", "WEBP"][seed % 3]))
    for place in draw.integers(0, min(len(content), 800 if seed % 2 else len(content)), 8):
        content[place] = draw.integers(0, 256)
    # Anything but a refusal, which is the other right answer, fails the test.
    with suppress(BadImage, ImageTooLarge):
        assert cut(bytes(content), box(0, 0, 96, 96)).shape == (1, 96, 96, 3)
