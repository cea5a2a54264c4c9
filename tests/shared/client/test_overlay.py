import base64
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.client.errors import UnexpectedAnswer, Unusable
from shared.client.overlay import Photo, colour_of, mask_of, save_masks, save_overlay
from shared.contracts.segmentation import ObjectOut, Prompt, SegmentOut
from tests.shared.client.answers import a_segmentation, an_object

GREY = (128, 128, 128)


def a_photo(path: Path, *, size: tuple[int, int] = (160, 120), orientation: int | None = None) -> Photo:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.new("RGB", size, GREY).save(path, exif=exif)
    return Photo.read(path)


def an_answer(*objects: dict[str, Any], **changes: Any) -> SegmentOut:
    return SegmentOut.model_validate_json(a_segmentation(*objects, **changes))


def test_a_photo_has_the_size_that_people_see(tmp_path: Path) -> None:
    photo = a_photo(tmp_path / "a.jpg", orientation=6)
    assert (photo.width, photo.height) == (120, 160)
    assert photo.upright().size == (120, 160)


@pytest.mark.parametrize("content", [b"", b"no image", b"GIF89a" + bytes(40), b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_refused_before_it_is_sent(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(Unusable, match="no JPEG, PNG or WebP image"):
        Photo.read(tmp_path / "a.jpg")


def test_a_header_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("1", (8, 8)).save(content, "PNG")
    bomb = bytearray(content.getvalue())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(Unusable):
        Photo.read(tmp_path / "a.png")


def test_a_photo_that_was_cut_off_cannot_be_drawn_on(tmp_path: Path) -> None:
    whole = a_photo(tmp_path / "a.jpg", size=(900, 600))
    (tmp_path / "a.jpg").write_bytes(whole.content[:-200])
    with pytest.raises(Unusable, match="damaged"):
        Photo.read(tmp_path / "a.jpg").upright()


def test_the_mask_is_tinted_and_outlined_and_the_rest_is_the_photo(tmp_path: Path) -> None:
    photo = a_photo(tmp_path / "a.png")
    pixels = np.asarray(Image.open(save_overlay(photo, an_answer(), tmp_path / "over.png")).convert("RGB")).astype(int)
    assert pixels.shape == (600, 800, 3), "a small photo is enlarged by a whole number"
    assert tuple(pixels[550, 750]) == GREY, "far from the object nothing changes"
    inside, colour = pixels[275, 200], np.array(colour_of(0))
    assert abs(inside - colour).sum() < abs(np.array(GREY) - colour).sum()
    assert tuple(pixels[300, 100]) == tuple(colour), "its edge has the full colour"


def test_the_point_is_marked_where_it_was_set(tmp_path: Path) -> None:
    photo = a_photo(tmp_path / "a.png", size=(900, 600))
    nothing = an_object(mask=None, box=None, area=0, confidence=0)
    save_overlay(photo, an_answer(nothing, size=(900, 600)), tmp_path / "over.png", [Prompt(point=(700, 400))])
    pixels = np.asarray(Image.open(tmp_path / "over.png"))
    assert tuple(pixels[400, 700]) == colour_of(0)


@pytest.mark.parametrize("name", ["over.png", "over.jpg", "over.JPEG", "over.webp"])
def test_the_ending_decides_the_format(tmp_path: Path, name: str) -> None:
    saved = save_overlay(a_photo(tmp_path / "a.png"), an_answer(), tmp_path / name)
    with Image.open(saved) as image:
        assert image.format == {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}[name.rpartition(".")[2].lower()]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", name]), "no half picture is left behind"


@pytest.mark.parametrize("label", ["[bold]", "ключ\n\x00\x1b[31m", "x" * 128, "🚗", ""])
def test_any_label_can_be_drawn(tmp_path: Path, label: str) -> None:
    answer = an_answer(an_object(label=label, box=[0, 0, 160, 120]))
    assert save_overlay(a_photo(tmp_path / "a.png"), answer, tmp_path / "over.png").stat().st_size


def test_labels_are_left_out_where_they_would_cover_everything(tmp_path: Path) -> None:
    photo = a_photo(tmp_path / "a.png")
    few, many = [an_object(box=[100, 90, 150, 110])], [an_object(number, box=[100, 90, 150, 110]) for number in range(30)]
    few_pixels, many_pixels = (
        np.asarray(Image.open(save_overlay(photo, an_answer(*found), tmp_path / "over.png"))) for found in (few, many)
    )
    assert (few_pixels[400:450, 500:] != GREY).any()
    assert (many_pixels[400:450, 560:] == GREY).all()


def test_neighbouring_colours_differ(tmp_path: Path) -> None:
    colours = np.array([colour_of(number) for number in range(12)])
    distances = [np.abs(one - other).sum() for one, other in pairwise(colours)]
    assert min(distances) > 150


def test_masks_are_saved_by_id_which_cannot_lead_elsewhere(tmp_path: Path) -> None:
    answer = an_answer(an_object(), an_object(1, id="../../evil/\0"), an_object(2, mask=None))
    saved = save_masks(answer, tmp_path / "masks", "photo")
    assert [path.name for path in saved] == ["photo-0.png", "photo-.._.._evil__.png"]
    assert all(path.parent == tmp_path / "masks" for path in saved)
    with Image.open(saved[0]) as mask:
        assert (mask.size, int(np.asarray(mask).sum())) == ((160, 120), 2000)


@pytest.mark.parametrize("png", ["", "???", base64.b64encode(b"no image").decode()])
def test_an_answer_without_a_mask_that_can_be_read_is_named(png: str) -> None:
    found = ObjectOut.model_validate(an_object(mask={"format": "png", "size": [120, 160], "png": png}))
    with pytest.raises(UnexpectedAnswer, match="object 0"):
        mask_of(found, (160, 120))


def test_a_mask_of_another_size_is_named() -> None:
    with pytest.raises(UnexpectedAnswer, match="160 x 120"):
        mask_of(ObjectOut.model_validate(an_object()), (161, 120))
