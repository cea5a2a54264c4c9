"""Masks that cameras made, against those that the package's reference model makes of the same windows."""

import io
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import delete, select, update

from services.fleet.packages.models import PackageFile
from services.fleet.rollouts.models import Sample
from services.fleet.runtime import Services
from shared.contracts.base import Digest
from shared.contracts.cameras import CameraFormat
from shared.contracts.packages import REFERENCE_MODEL
from shared.kit.blobs import BlobStore
from shared.kit.database import begin_reading, db_now
from shared.kit.packages.errors import PackageError
from shared.kit.packages.tars import unpack
from shared.kit.problems import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

log = structlog.get_logger(__name__)

COMPARE: Final = "samples.compare"
AT_ONCE: Final = 32
"""Samples per transaction and run."""

KEPT_OPEN: Final = 2
"""Networks that stay loaded: hardly ever more packages than that soak at a time."""

LARGEST: Final = 512
"""Cells of a window's side. A picture says its size in its first bytes, before anything is unpacked."""


class NoReference(Exception):
    """The package has no reference model that can be run."""


_networks: "OrderedDict[str, InferenceSession]" = OrderedDict()


def tick(services: Services) -> None:
    """Compare the samples that were not compared yet."""
    while not services.stopping.is_set():
        with services.sessions.begin() as session:
            begin_reading(session)
            query = select(Sample).where(Sample.agreement_at.is_(None)).order_by(Sample.id).limit(AT_ONCE)
            samples = session.scalars(query).all()
        if not samples:
            return
        found: dict[int, float | None] = {}
        for package_id in sorted({sample.package_id for sample in samples}):
            found |= _compare(services, package_id, [sample for sample in samples if sample.package_id == package_id])
        _store(services, found)


def _store(services: Services, agreements: dict[int, float | None]) -> None:
    with services.sessions.begin() as session:
        now = db_now(session)
        for sample_id, agreement in sorted(agreements.items()):
            values = {"agreement": agreement, "agreement_at": now}
            # Each replica compares them. One that could not read the network takes back nothing that another has found.
            fresh = update(Sample).where(Sample.id == sample_id, Sample.agreement_at.is_(None))
            session.execute(fresh.values(values), execution_options={"synchronize_session": False})


def _compare(services: Services, package_id: str, samples: Sequence[Sample]) -> dict[int, float | None]:
    """IoU of each sample's mask by id; None where that cannot be said."""
    try:
        network = _network(services, package_id)
    except NoReference as exc:
        log.warning("samples.no_reference", package_id=package_id, reason=str(exc))
        return {sample.id: None for sample in samples}
    return {sample.id: agreement(network, sample.window, sample.mask) for sample in samples}


def agreement(network: "InferenceSession", window: bytes, mask: bytes) -> float | None:
    """IoU of ``mask`` with what ``network`` makes of ``window``, both PNG; 1 for two empty ones, None for damaged pictures."""
    import numpy as np

    side = network.get_inputs()[0].shape[-1]
    picture, claimed = _picture(window, "RGB", side), _picture(mask, "1", side)
    if picture is None or claimed is None:
        return None
    pixels = picture.astype(np.float32).transpose(2, 0, 1)[None] / 256
    (logits,) = network.run(None, {network.get_inputs()[0].name: pixels})
    wanted, made = logits.reshape(side, side) > 0, claimed.astype(bool)
    union = int((wanted | made).sum())
    return int((wanted & made).sum()) / union if union else 1.0


def _picture(content: bytes, mode: str, side: Any) -> "NDArray[np.uint8] | None":
    """As a camera sent it: anything may be in there."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width > LARGEST or image.height != image.width or image.width != side:
                return None
            return np.asarray(image.convert(mode), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _network(services: Services, package_id: str) -> "InferenceSession":
    if package_id not in _networks:
        _networks[package_id] = _opened(services, package_id)
    _networks.move_to_end(package_id)
    while len(_networks) > KEPT_OPEN:
        _networks.popitem(last=False)
    return _networks[package_id]


def _opened(services: Services, package_id: str) -> "InferenceSession":
    from shared.picosam.errors import BadWeights
    from shared.picosam.onnx_session import open_session

    with services.sessions.begin() as session:
        begin_reading(session)
        query = select(PackageFile.sha256).where(PackageFile.package_id == package_id)
        sha256 = session.scalar(query.where(PackageFile.format == CameraFormat.PACKAGE.value).limit(1))
    if sha256 is None:
        raise NoReference("it has no file for our agent")
    with tempfile.TemporaryDirectory(prefix="picofleet-reference-") as folder:
        try:
            _unpack(services.blobs, f"sha256:{sha256}", Path(folder))
            return open_session(Path(folder, "package", REFERENCE_MODEL), quantization="fake_quant", threads=1)
        except (Problem, PackageError, BadWeights) as exc:
            raise NoReference(str(exc)) from exc


def _unpack(blobs: BlobStore, digest: Digest, folder: Path) -> None:
    packed = folder / "package.tar"
    with packed.open("wb") as file:
        for chunk in blobs.open_range(digest):
            file.write(chunk)
    unpack(packed, folder / "package")


def forget_old(services: Services) -> None:
    """Delete samples that are older than they are kept."""
    kept = timedelta(seconds=services.settings.samples_kept_s)
    while not services.stopping.is_set():
        with services.sessions.begin() as session:
            old = select(Sample.id).where(Sample.received_at < db_now(session) - kept).limit(services.settings.tick_rows)
            ids = session.scalars(old).all()
            session.execute(delete(Sample).where(Sample.id.in_(ids)), execution_options={"synchronize_session": False})
        if len(ids) < services.settings.tick_rows:
            return
