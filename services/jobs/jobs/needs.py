"""What a spec names: registered versions and splits, each with the role it plays and its place in the spec. Pure."""

from collections.abc import Collection
from typing import NamedTuple

from services.jobs.models.domain import Kind
from shared.contracts.datasets import DatasetSelection
from shared.contracts.distillation import DistillationSpec, ModelTeacher
from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.jobs import JobSpec
from shared.contracts.packaging import PackagingSpec
from shared.contracts.quantization import QuantizationSpec
from shared.contracts.training import FittingSpec


class NamedModel(NamedTuple):
    """A registered version as the user names it: name/version or name@alias."""

    role: str
    """initial_model, teacher, model, models.0, models.1, ..."""
    field: str
    """Its place in the spec, as ``teacher.model``."""
    reference: str
    kind: Kind = Kind.FLOAT


class NamedSplit(NamedTuple):
    """A split of a dataset."""

    role: str
    """train, calibration, validation, golden or dataset."""
    field: str
    """Its place in the spec, as ``train.0``."""
    selection: DatasetSelection


def models_of(spec: JobSpec) -> list[NamedModel]:
    """The versions that the job will read."""
    if isinstance(spec, EvaluationSpec):
        found = enumerate(spec.models)
        return [NamedModel(f"models.{at}", f"models.{at}.model", each.model, Kind.NETWORK) for at, each in found]
    if isinstance(spec, QuantizationSpec):
        return [NamedModel("model", "model", spec.model)]
    if isinstance(spec, PackagingSpec):
        return [NamedModel("model", "model", spec.model, Kind.SENSOR)]
    named: list[NamedModel] = []
    if isinstance(spec, FittingSpec) and spec.initial_model is not None:
        named.append(NamedModel("initial_model", "initial_model", spec.initial_model))
    if isinstance(spec, DistillationSpec) and isinstance(spec.teacher, ModelTeacher):
        named.append(NamedModel("teacher", "teacher.model", spec.teacher.model))
    return named


def splits_of(spec: JobSpec) -> list[NamedSplit]:
    """The splits that the job will read, in the order in which its worker is told: train... or calibration, validation;
    golden; or the dataset.
    """
    if isinstance(spec, EvaluationSpec):
        return [NamedSplit("dataset", "dataset", spec.dataset)]
    if isinstance(spec, QuantizationSpec):
        calibration = NamedSplit("calibration", "calibration.dataset", spec.calibration.dataset)
        return [calibration, NamedSplit("validation", "validation", spec.validation)]
    if isinstance(spec, PackagingSpec):
        return [NamedSplit("golden", "golden.dataset", spec.golden.dataset)] if spec.golden is not None else []
    if isinstance(spec, FittingSpec):
        train = [NamedSplit("train", f"train.{at}", selection) for at, selection in enumerate(spec.train)]
        return [*train, NamedSplit("validation", "validation", spec.validation)]
    return []


def is_left_out(field: str, unknown: Collection[str]) -> bool:
    """True if the value at ``field`` is not known yet, wholly or in part: ``unknown`` are places in the same spec."""
    return any(f"{field}.".startswith(f"{each}.") or each.startswith(f"{field}.") for each in unknown)
