"""Shadows are asked as well, and only compared."""

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from services.inference.deployments.shadow import Shadows
from services.inference.engine.desk import Desk
from services.inference.engine.loaded import load
from services.inference.engine.served import Part, Served
from services.inference.metrics import Metrics
from shared.contracts.deployments import CpuTarget, Engine
from tests.conftest import wait_for


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def shadows(registry):
    made = Shadows(Metrics(registry))
    yield made
    made.close()


@pytest.fixture
def served(networks):
    """A deployment of net/1 with a shadow: ``served(shadow=1, percent=50, generation=2)``."""
    desk = Desk("test", parallel=2, max_queue=8)

    def make(*, shadow=0, percent=100, generation=1):
        versions = [
            load(networks(seed), f"net/{seed + 1}", Engine.ONNXRUNTIME, digest=None, threads=1, processors=1)
            for seed in (0, shadow)
        ]
        spec = {"versions": [{"model": "net/1"}], "shadow": {"model": f"net/{shadow + 1}", "percent": percent}}
        return Served(
            name="test",
            generation=generation,
            spec=CpuTarget.model_validate(spec),
            parts=(Part(versions[0], 100),),
            shadow=versions[1],
            desk=desk,
        )

    yield make
    desk.close()


def some_windows(number=3):
    return np.random.default_rng(number).integers(0, 256, (number, 96, 96, 3), np.uint8)


def offer(shadows, served, windows=None):
    windows = some_windows() if windows is None else windows
    shadows.offer(served, windows, served.choose(None).logits(windows))


def settled(shadows, total, generation=1):
    """The report once all offers are settled."""

    def is_so():
        report = shadows.report("test", generation)
        return report is not None and report.compared + report.skipped + report.failed == total

    wait_for(is_so, what="the shadow")
    return shadows.report("test", generation)


def test_the_same_network_agrees_with_itself(shadows, served, registry):
    here = served(shadow=0)
    for _ in range(2):
        offer(shadows, here)
    report = settled(shadows, 2)
    assert (report.compared, report.agreeing) == (2, 1.0)
    assert report.mask_iou == pytest.approx(1)
    labels = {"deployment": "test", "model": "net/1"}
    wait_for(lambda: registry.get_sample_value("picofleet_inference_shadow_iou_count", labels) == 6, what="the histogram")
    assert registry.get_sample_value("picofleet_inference_shadow_total", labels | {"outcome": "compared"}) == 2


def test_agreement_is_the_mean_iou_over_prompts(shadows, served):
    here = served(shadow=1)
    windows = some_windows(5)
    offer(shadows, here, windows)
    answered, shadow = here.parts[0].loaded.logits(windows) > 0, here.shadow.logits(windows) > 0
    ious = [(a & b).sum() / max(1, (a | b).sum()) if (a | b).any() else 1.0 for a, b in zip(answered, shadow, strict=True)]
    report = settled(shadows, 1)
    assert report.mask_iou == pytest.approx(np.mean(ious), abs=1e-6)
    assert report.agreeing == np.mean(np.array(ious) >= 0.9)


def test_its_percent_of_the_requests_are_compared(shadows, served):
    here = served(percent=25)
    window = some_windows(1)
    for _ in range(40):
        offer(shadows, here, window)
    wait_for(lambda: shadows.report("test", 1).compared >= 9, what="the shadow")
    shadows.close()
    report = shadows.report("test", 1)
    assert (report.failed, report.skipped) == (0, 0)
    assert report.compared in (9, 10, 11)


def test_a_generation_begins_anew_and_late_requests_of_the_one_before_change_nothing(shadows, served):
    old, new = served(shadow=0), served(shadow=1, generation=2)
    offer(shadows, old)
    settled(shadows, 1)
    offer(shadows, new)
    assert settled(shadows, 1, generation=2).model == "net/2"
    assert shadows.report("test", 1) is None
    offer(shadows, old)
    assert settled(shadows, 1, generation=2).compared == 1


class Broken:
    """A network that fails."""

    def run(self, inputs, *, alone):  # noqa: ARG002
        raise RuntimeError("no memory")


class Held:
    """A network that takes as long as it is told to."""

    def __init__(self):
        self.go = threading.Event()

    def run(self, inputs, *, alone):  # noqa: ARG002
        self.go.wait(20)
        return inputs[:, 0] - 0.5


def test_a_shadow_that_fails_is_counted_and_harms_nobody(shadows, served):
    here = served()
    broken = replace(here, shadow=replace(here.shadow, runner=Broken()))
    offer(shadows, broken)
    report = settled(shadows, 1)
    assert (report.failed, report.mask_iou) == (1, None)


def test_offers_never_wait_and_what_is_too_much_is_skipped(shadows, served):
    here, held = served(), Held()
    slow = replace(here, shadow=replace(here.shadow, runner=held))
    windows = some_windows(64)
    logits = np.zeros((64, 96, 96), np.float32)
    for _ in range(20):
        slow_offer = threading.Thread(target=shadows.offer, args=(slow, windows, logits))
        slow_offer.start()
        slow_offer.join(5)
        assert not slow_offer.is_alive()
    held.go.set()
    report = settled(shadows, 20)
    assert report.skipped >= 20 - 9
    assert report.compared >= 1


def test_while_requests_wait_the_shadow_is_skipped(shadows, served):
    here, go = served(), threading.Event()

    async def busy():
        waiting = [asyncio.create_task(here.desk.do(lambda _: go.wait(20), deadline_s=30)) for _ in range(4)]
        await asyncio.sleep(0)
        await asyncio.to_thread(wait_for, lambda: here.desk.waiting > 0, what="the queue")
        await asyncio.to_thread(offer, shadows, here)
        report = await asyncio.to_thread(settled, shadows, 1)
        go.set()
        await asyncio.gather(*waiting)
        return report

    assert asyncio.run(busy()).skipped == 1


def test_a_deployment_without_shadow_has_no_report(shadows, served):
    here = replace(served(), shadow=None)
    offer(shadows, here)
    assert shadows.report("test", 1) is None
