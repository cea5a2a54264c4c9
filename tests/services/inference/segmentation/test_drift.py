"""Masks that look unlike those of validation."""

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.inference.metrics import Metrics
from services.inference.segmentation.drift import Drift
from shared.contracts.serving import HISTOGRAM_BINS, Reference


def spread(values):
    counts, _ = np.histogram(values, HISTOGRAM_BINS, (0, 1))
    return (counts / counts.sum()).tolist()


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def version(versions, random):
    """One whose validation masks are small and confident."""
    reference = Reference(
        area=spread(random.beta(2, 8, 5000)), confidence=spread(random.beta(8, 2, 5000)), empty=0.1, windows=5000
    )
    loaded = versions()
    return replace(loaded, card=loaded.card.model_copy(update={"reference": reference}))


@pytest.fixture
def drift(version):
    """Notes masks in requests of 10: the distances by figure."""
    registry = CollectorRegistry()
    watched = Drift(Metrics(registry))

    def note(areas, confidences, empty=0):
        for start in range(0, len(areas), 10):
            part = slice(start, start + 10)
            watched.note("default", version, areas[part], confidences[part], empty)
        return {
            sample.labels["figure"]: sample.value
            for metric in registry.collect()
            for sample in metric.samples
            if sample.name == "picofleet_inference_drift"
        }

    return note


def test_masks_as_in_validation_are_near_it(drift, random):
    found = drift(random.beta(2, 8, 2000), random.beta(8, 2, 2000), empty=1)
    assert max(found.values()) < 0.1


def test_larger_masks_and_lower_confidence_and_nothing_found_show_each_by_itself(drift, random):
    assert drift(random.beta(8, 2, 2000), random.beta(8, 2, 2000), empty=1)["area"] > 0.7
    assert drift(random.beta(2, 8, 5000), random.beta(2, 8, 5000), empty=1)["confidence"] > 0.7
    assert drift(random.beta(2, 8, 5000), random.beta(8, 2, 5000), empty=10)["empty"] > 0.3


def test_what_was_long_ago_is_forgotten(drift, random):
    drift(random.beta(8, 2, 2000), random.beta(8, 2, 2000), empty=1)
    assert drift(random.beta(2, 8, 8000), random.beta(8, 2, 8000), empty=1)["area"] < 0.1


def test_a_few_masks_say_nothing(drift, random):
    assert drift(random.beta(8, 2, 50), random.beta(8, 2, 50)) == {}
