"""What clients of the protocol see of a deployment: it is their model, and the versions in use are its versions.

A version is called by its number, as "3". In a deployment of several registered models the model's name comes before it, as
"picosam2.int8.3", and where one version runs on several engines, the engine comes after it, as "3.openvino".
"""

from typing import Any, Final

from services.inference.engine.loaded import LoadedVersion
from services.inference.engine.served import Served
from services.inference.oip.tensors import LOGITS, MOST_WINDOWS, PIXELS, WINDOW
from shared.kit.problems import NotFound


class VersionNotServed(NotFound):
    """The deployment does not use this version."""

    title = "No such version in the deployment"


def names(served: Served) -> list[str]:
    """Of the parts, in their order."""
    loaded = [part.loaded for part in served.parts]
    models = {version.model for version in loaded}
    named = len({model.rpartition("/")[0] for model in models}) > 1
    engined = len(models) < len(loaded)
    return [_name(version, named=named, engined=engined) for version in loaded]


def pick(served: Served, version: str, key: str | None) -> tuple[str, LoadedVersion]:
    """The version of this name; of none ("") the one whose turn it is, always the same for the same ``key``."""
    called = names(served)
    if version:
        if version not in called:
            raise VersionNotServed(
                f"The deployment {served.name} has no version {version[:80]!r}; it has {', '.join(called)}.",
                deployment=served.name,
            )
        return version, served.parts[called.index(version)].loaded
    chosen = served.choose(key)
    return next(name for name, part in zip(called, served.parts, strict=True) if part.loaded is chosen), chosen


def metadata(served: Served, version: str) -> dict[str, Any]:
    """As ``GET /v2/models/MODEL`` answers. Of ``version``; of none, what all share and the first one's form."""
    shown = _shown(served, version)
    side = shown.config.input_size
    return {
        "name": served.name,
        "versions": names(served),
        "platform": _platform(shown),
        "inputs": [{"name": WINDOW, "datatype": "FP32", "shape": [-1, 3, side, side]}],
        "outputs": [{"name": LOGITS, "datatype": "FP32", "shape": [-1, 1, side, side]}],
        "parameters": _explained(side),
    }


def configuration(served: Served, version: str) -> dict[str, Any]:
    """The part of Triton's model configuration that means something here. No batch size: the tensors' shapes have it."""
    shown = _shown(served, version)
    side = shown.config.input_size
    return {
        "name": served.name,
        "platform": _platform(shown),
        "backend": shown.engine.value,
        "max_batch_size": 0,
        "input": [{"name": WINDOW, "data_type": "TYPE_FP32", "dims": [-1, 3, side, side]}],
        "output": [{"name": LOGITS, "data_type": "TYPE_FP32", "dims": [-1, 1, side, side]}],
        "parameters": {name: {"string_value": text} for name, text in _explained(side).items()},
    }


def _name(version: LoadedVersion, *, named: bool, engined: bool) -> str:
    model, _, number = version.model.rpartition("/")
    return ".".join([*([model] if named else []), number, *([version.engine.value] if engined else [])])


def _shown(served: Served, version: str) -> LoadedVersion:
    return pick(served, version, None)[1] if version else served.parts[0].loaded


def _platform(version: LoadedVersion) -> str:
    return f"{version.engine.value}_onnx"


def _explained(side: int) -> dict[str, str]:
    return {
        WINDOW: f"RGB windows round the prompts, channels first, pixel/256; 1 to {MOST_WINDOWS} of them",
        PIXELS: f"may be sent instead of {WINDOW}: UINT8 [-1, {side}, {side}, 3], RGB, channels last; a quarter of the bytes",
        LOGITS: "above 0 is object; the sigmoid of it is the probability",
    }


_EXTENSIONS: Final = ("binary_tensor_data", "model_configuration", "model_repository")


def server(version: str) -> dict[str, Any]:
    """As ``GET /v2`` answers."""
    return {"name": "picofleet", "version": version, "extensions": list(_EXTENSIONS)}


def check(served: Served, version: str) -> None:
    """VersionNotServed unless ``version`` is one of the deployment's, or "" for any."""
    if version:
        pick(served, version, None)
