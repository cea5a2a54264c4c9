"""What is written without Pillow is what Pillow reads."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.camera.pictures import mask_png, rgb_png

sides = st.integers(1, 40)


@given(height=sides, width=sides, seed=st.integers(0, 2**32 - 1))
def test_pixels_come_back(height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    with Image.open(io.BytesIO(rgb_png(pixels))) as image:
        assert image.mode == "RGB"
        assert (np.asarray(image) == pixels).all()


@given(height=sides, width=sides, seed=st.integers(0, 2**32 - 1))
def test_masks_come_back_with_one_bit_per_cell(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    with Image.open(io.BytesIO(mask_png(mask))) as image:
        assert image.mode == "1"
        assert (np.asarray(image) == mask).all()


def test_a_window_without_order_fits_what_the_server_takes() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (96, 96, 3), np.uint8)
    assert len(rgb_png(pixels)) * 4 / 3 < 200_000
