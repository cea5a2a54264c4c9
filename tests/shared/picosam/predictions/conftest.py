"""Real annotations, where PICOFLEET_DATA names a folder of them."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def real_annotations():
    if "PICOFLEET_DATA" not in os.environ:
        pytest.skip("PICOFLEET_DATA names no folder of real images")
    return Path(os.environ["PICOFLEET_DATA"]) / "coco2017/annotations/instances_val2017.json"
