"""Sampled masks against the reference model's, and the gate that asks for them."""

import io
from datetime import timedelta

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from sqlalchemy import select, update

from services.fleet.packages.models import PackageFile
from services.fleet.rollouts import quality
from services.fleet.rollouts.models import Sample
from shared.contracts.packages import REFERENCE_MODEL
from shared.kit.packages.folder import write_package
from shared.kit.packages.tars import pack
from tests.shared.kit.packages.making import some_contents, some_facts

SIDE = 8


@pytest.fixture(autouse=True)
def nothing_loaded():
    quality._networks.clear()


def a_network():
    """Answers above 0 where red is above a half."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 3, 1, 1], [1.0, 0.0, 0.0])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [1], [-0.5])
    node = helper.make_node("Conv", ["input", "weight", "bias"], ["logits"])
    wanted = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1, SIDE, SIDE])
    graph = helper.make_graph([node], "a-network", [wanted], [made], [weight, bias])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


def png(pixels, mode):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "PNG")
    return file.getvalue()


def window(rows):
    """Red in the upper ``rows``."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:rows, :, 0] = 255
    return png(pixels, "RGB")


def mask(rows):
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[:rows] = 255
    return png(pixels, "1")


class Samples:
    """Packages with a reference model, and samples of cameras."""

    def __init__(self, world, folder):
        self.world, self.folder = world, folder

    def package(self, reference=None):
        package = self.world.package()
        contents = some_contents() | {REFERENCE_MODEL: reference or a_network()}
        write_package(self.folder / "package", some_facts(), contents)
        pack(self.folder / "package", tar := self.folder / "package.tar")
        stored = self.world.services.blobs.put_file(tar)
        sha256 = stored.digest.removeprefix("sha256:")
        hashes = {"sha256": sha256, "sha1": "0" * 40, "md5": "0" * 32}
        row = {"part": "model", "filename": "package.tar", "format": "package", "size_bytes": stored.size_bytes} | hashes
        with self.world.services.sessions.begin() as session:
            session.add(PackageFile(package_id=package.id, **row))
        return package

    def add(self, package, camera, pictures, *, rollout=None):
        where = {"package_id": package.id, "camera_id": camera, "rollout_id": rollout, "phase": 1 if rollout else None}
        with self.world.services.sessions.begin() as session:
            session.add_all(Sample(window=seen, mask=made, **where) for seen, made in pictures)

    def ids(self):
        with self.world.services.sessions() as session:
            return session.scalars(select(Sample.id).order_by(Sample.id)).all()

    def compare(self):
        quality.tick(self.world.services)
        with self.world.services.sessions() as session:
            rows = session.scalars(select(Sample).order_by(Sample.id)).all()
        assert all(row.agreement_at is not None for row in rows)
        return [row.agreement for row in rows]


@pytest.fixture
def samples(world, tmp_path):
    return Samples(world, tmp_path)


def test_masks_are_compared_by_what_they_share(world, samples):
    package, (camera,) = samples.package(), world.cameras(1)
    pictures = [(window(4), mask(4)), (window(4), mask(8)), (window(4), mask(0)), (window(0), mask(0))]
    samples.add(package, camera, pictures)
    assert samples.compare() == [1, 0.5, 0, 1]


@pytest.mark.parametrize(
    "pictures",
    [
        (b"no picture", mask(1)),
        (window(1)[:45], mask(1)),
        (window(1), b""),
        (png(np.zeros((4, 4, 3), np.uint8), "RGB"), mask(1)),
        (png(np.zeros((2000, 2000), np.uint8), "1"), mask(1)),
    ],
)
def test_damaged_pictures_are_compared_with_nothing(world, samples, pictures):
    package, (camera,) = samples.package(), world.cameras(1)
    samples.add(package, camera, [pictures, (window(2), mask(2))])
    assert samples.compare() == [None, 1]


def test_a_package_without_a_reference_that_runs_has_no_agreement(world, samples):
    damaged, (camera,) = samples.package(reference=b"no network"), world.cameras(1)
    samples.add(damaged, camera, [(window(1), mask(1))])
    samples.add(world.package("other/1"), camera, [(window(1), mask(1))])
    assert samples.compare() == [None, None]


def test_what_one_replica_found_stays_where_another_finds_nothing(world, samples, monkeypatch):
    package, (camera,) = samples.package(), world.cameras(1)
    samples.add(package, camera, [(window(4), mask(4))])
    agreement = quality.agreement

    def late(*pictures):
        monkeypatch.setattr(quality, "agreement", agreement)
        samples.compare()  # another replica is quicker
        return None

    monkeypatch.setattr(quality, "agreement", late)
    assert samples.compare() == [1]


def test_a_phase_soaks_until_enough_masks_agree(world, samples):
    package = samples.package()
    world.cameras(2)
    gate = {"quality": {"min_samples": 3, "min_agreement": 0.9}}
    rollout = world.rollout(package, phases=[{"count": 1} | gate, {"count": 2}])
    world.tick()
    (canary,) = (each.camera_id for each in world.active())
    world.succeed()
    samples.add(package, canary, [(window(4), mask(4))] * 2, rollout=rollout)
    samples.compare()
    world.tick(2)
    assert world.phases(rollout) == ["soaking", "waiting"]
    assert world.shown(rollout).reason == "phase 1: 2 of 3 sampled masks are compared"
    samples.add(package, canary, [(window(4), mask(4))], rollout=rollout)
    samples.compare()
    world.tick()
    shown = world.shown(rollout)
    assert ([phase.state for phase in shown.phases], shown.reason) == (["done", "running"], "")
    assert (shown.phases[0].samples, shown.phases[0].agreement) == (3, 1)


def test_masks_that_differ_stop_the_rollout(world, samples):
    package = samples.package()
    world.cameras(2)
    gate = {"quality": {"min_samples": 2}}
    rollout = world.rollout(package, phases=[{"count": 1} | gate, {"count": 2}], on_failure="pause")
    world.tick()
    (canary,) = (each.camera_id for each in world.active())
    world.succeed()
    samples.add(package, canary, [(window(4), mask(4)), (window(4), mask(8))], rollout=rollout)
    samples.compare()
    world.tick()
    assert world.state(rollout) == "paused"
    assert world.shown(rollout).reason == "phase 1: masks agree with the reference model by 0.750, at least 0.9 is asked"
    world.do("resume", rollout)
    world.tick()
    assert world.phases(rollout) == ["done", "running"]


def test_who_accepts_failures_does_not_accept_masks(world, samples):
    package = samples.package()
    world.cameras(3)
    gate = {"quality": {"min_samples": 1}, "success_percent": 50}
    rollout = world.rollout(package, phases=[{"count": 2} | gate, {"count": 3}], on_failure="pause")
    world.tick()
    failing, canary = (each.camera_id for each in world.active())
    world.fail(only=[failing])
    world.succeed(only=[canary])
    world.tick()
    world.do("resume", rollout)
    samples.add(package, canary, [(window(4), mask(0))], rollout=rollout)
    samples.compare()
    world.tick(2)
    assert (world.state(rollout), world.phases(rollout)) == ("paused", ["soaking", "waiting"])


def test_old_samples_are_forgotten(world, samples):
    package, (camera,) = world.package(), world.cameras(1)
    samples.add(package, camera, [(window(1), mask(1))] * 3)
    first, second, third = samples.ids()
    old = world.now() - timedelta(days=31)
    with world.services.sessions.begin() as session:
        session.execute(update(Sample).where(Sample.id.in_([first, second])).values(received_at=old))
    quality.forget_old(world.services)
    assert samples.ids() == [third]
