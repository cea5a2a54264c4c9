"""Weights on disk: our own files, strictly; foreign files as hostile input.

Our file is safetensors with the model's configuration in its header. A foreign one may be truncated, huge, a pickle with
code in it, of another network, or full of NaN: each is refused with ``BadWeights``, whose message and hint are made for the
person who uploaded it. Nothing is ever unpickled but a PyTorch state dict with ``weights_only``.
"""

import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as dump_safetensors
from torch import Tensor, nn

from shared.contracts.imports import WeightsFormat
from shared.contracts.training import Recipe
from shared.contracts.windows import WindowPolicy
from shared.picosam.errors import BadWeights
from shared.picosam.model import UnknownArchitecture, build_model
from shared.picosam.prompt import INPUT_SIZE
from shared.picosam.weights_onnx import network_state, parse_network, prove_equal

MAX_BYTES: Final = 64 * 1024**2
"""The largest network here is 11 MB; this leaves room for an optimiser's state saved beside it, and for little else."""

NORM: Final = "input_norm."
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
_FLOATS: Final = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
_COUNTER: Final = "num_batches_tracked"

InputScale = Literal["pixel/256", "imagenet"]
Quantization = Literal["fake_quant", "int8"]
State = dict[str, Tensor]


class ModelConfig(BaseModel):
    """What one must know to run the weights; stored in the file's header and as config.json. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[1] = 1
    architecture: str = "picosam2"
    input: Literal["pixel/256"] = "pixel/256"
    input_size: int = INPUT_SIZE
    window: WindowPolicy = WindowPolicy()
    recipe: Recipe | None = None  # None for imported weights
    quantization: Quantization | None = None  # of model.onnx; None: float


def save_weights(model: nn.Module, path: Path, config: ModelConfig) -> None:
    """Writes ``model`` and ``config`` as one safetensors file, which appears whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    content = dump_safetensors(state, metadata={"config": config.model_dump_json()})
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(path: Path) -> tuple[nn.Module, ModelConfig]:
    """Our own file: the model in evaluation mode, and its configuration. BadWeights if anything is missing or odd."""
    state = _read_safetensors(_read(path))
    config = _read_config(path)
    model = _new(config.architecture)
    _fill(model, state)
    return model.eval(), config


def load_any(
    path: Path, weights_format: WeightsFormat, *, architecture: str = "picosam2", input_scale: InputScale = "pixel/256"
) -> nn.Module:
    """A foreign file as a model in evaluation mode that takes pixel/256. BadWeights with a message and a hint otherwise.

    Key names are ours, which are the published ones. A file that carries no inner normalisation gets one: none that
    changes anything for ``pixel/256``, ImageNet's for ``imagenet``. A file that has one keeps it.
    """
    content, model = _read(path), _new(architecture)
    match weights_format:
        case WeightsFormat.SAFETENSORS:
            return _filled(model, _read_safetensors(content), input_scale)
        case WeightsFormat.STATE_DICT:
            return _filled(model, _read_state_dict(content), input_scale)
        case WeightsFormat.ONNX:
            network = parse_network(content)
            state = network_state(network, model)
            has_norm = any(name.startswith(NORM) for name in state)
            model = _filled(model, state, input_scale)
            prove_equal(network, model, normalised=input_scale == "imagenet" and not has_norm)
            return model


def _filled(model: nn.Module, state: State, input_scale: InputScale) -> nn.Module:
    """``model`` with foreign weights, tried out, in evaluation mode."""
    state = _without_prefix(state, set(model.state_dict()))
    if not any(name.startswith(NORM) for name in state):
        state |= _norm_state(model, input_scale)
    _fill(model, state)
    return _tried(model.eval())


def _read(path: Path) -> bytes:
    """The whole file, which must be of a model's size."""
    size = path.stat().st_size
    if size == 0:
        raise BadWeights("The file is empty.", hint="Upload the file again.")
    if size > MAX_BYTES:
        raise BadWeights(
            f"The file has {size} bytes; at most {MAX_BYTES} are read.",
            hint="Save the weights alone, without optimiser state or training data.",
        )
    return path.read_bytes()


def _new(architecture: str) -> nn.Module:
    try:
        return build_model(architecture, seed=0)
    except UnknownArchitecture as error:
        raise BadWeights(str(error), hint="Choose one of the architectures named.") from error


def _read_safetensors(content: bytes) -> State:
    try:
        return load_safetensors(content)
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        hint = "Check that the upload was complete and that the file was written by the safetensors library."
        raise BadWeights(f"This is not a whole safetensors file: {error}.", hint=hint) from error


def _read_config(path: Path) -> ModelConfig:
    with safe_open(path, framework="pt") as file:
        written = (file.metadata() or {}).get("config")
    if written is None:
        raise BadWeights("The file carries no model configuration.", hint="Import it as foreign weights instead.")
    try:
        return ModelConfig.model_validate_json(written)
    except (ValidationError, json.JSONDecodeError) as error:
        hint = "It was written by another version; import it as foreign weights instead."
        raise BadWeights(f"The file's model configuration cannot be read: {error}.", hint=hint) from error


def _read_state_dict(content: bytes) -> State:
    """A PyTorch zip file, its weights only: a pickle that names anything but tensors and containers is refused unrun."""
    _check_zip(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about dtypes and versions of whatever a stranger wrote
            found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        hint = "Save model.state_dict() alone: torch.save(model.state_dict(), path). Whole pickled models are never loaded."
        raise BadWeights("The file holds more than tensors, as Python code to be run on loading.", hint=hint) from error
    except Exception as error:  # a hostile file can make the parser raise anything
        hint = "Check that the upload was complete; write it with torch.save(model.state_dict(), path)."
        raise BadWeights(f"The state dict cannot be read: {type(error).__name__}: {error}"[:500], hint=hint) from error
    return _tensors_of(found)


def _check_zip(content: bytes) -> None:
    """Refuses what torch.load would unpack into more memory than the file's size, and its older, zipless format."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        hint = "Check that the upload was complete; write it with torch.save of PyTorch 1.6 or later."
        raise BadWeights("This is not a whole PyTorch file.", hint=hint) from error
    if unpacked > MAX_BYTES:
        raise BadWeights(
            f"The file unpacks to {unpacked} bytes; at most {MAX_BYTES} are read.",
            hint="Write it with torch.save, uncompressed.",
        )


def _tensors_of(found: object) -> State:
    """The state dict itself, or the one inside a training checkpoint."""
    for name in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        hint = "Write it with torch.save(model.state_dict(), path)."
        raise BadWeights(f"The file holds a {type(found).__name__}, not a dict of tensors.", hint=hint)
    return dict(found)


def _without_prefix(state: State, wanted: set[str]) -> State:
    """Names without what DataParallel, torch.compile and trainers put before them."""
    for prefix in _PREFIXES:
        if not wanted & state.keys() and any(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _norm_state(model: nn.Module, input_scale: InputScale) -> State:
    """The inner normalisation for weights that bring none: the model's own holds ImageNet's values."""
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(NORM)}
    if input_scale == "pixel/256":
        mean, variance = NORM + "running_mean", NORM + "running_var"
        epsilon = torch.nn.BatchNorm2d(1).eps  # which the division adds again
        state |= {mean: torch.zeros_like(state[mean]), variance: torch.full_like(state[variance], 1 - epsilon)}
    return state


def _fill(model: nn.Module, state: State) -> None:
    """Loads ``state`` strictly, after every tensor was looked at."""
    wanted = model.state_dict()
    # Counters of batches seen mean nothing for inference; the published files of some exporters lack them.
    state = {name: tensor for name, tensor in wanted.items() if name.endswith(_COUNTER)} | state
    _check_names(set(wanted), set(state))
    for name, tensor in wanted.items():
        _check_tensor(name, state[name], tensor)
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in state.items()})


def _check_names(wanted: set[str], found: set[str]) -> None:
    missing, unknown = sorted(wanted - found), sorted(found - wanted)
    if missing or unknown:
        said = [f"{kind}: {_some(names)}" for kind, names in (("missing", missing), ("unknown", unknown)) if names]
        hint = "Check the architecture; the names must be those of the published code (encoder_stage1.0.weight, ...)."
        raise BadWeights(f"These are not the weights of this network; {'; '.join(said)}.", hint=hint)


def _some(names: list[str], shown: int = 5) -> str:
    """The first few of ``names``, each cut to a readable length."""
    listed = ", ".join(name[:80] for name in names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"


def _check_tensor(name: str, found: object, wanted: Tensor) -> None:
    """BadWeights for anything but a plain, finite tensor of the right shape; a variance must not be negative."""
    if not isinstance(found, Tensor) or found.layout is not torch.strided or found.device.type != "cpu" or found.is_quantized:
        raise BadWeights(f"{name} is not a plain tensor.", hint="Write the float weights of the network with torch.save.")
    if found.shape != wanted.shape:
        hint = "Check the architecture and its version."
        raise BadWeights(f"{name} has shape {list(found.shape)[:8]}, this network needs {list(wanted.shape)}.", hint=hint)
    if name.endswith(_COUNTER):
        return
    if found.dtype not in _FLOATS:
        raise BadWeights(
            f"{name} holds {found.dtype}, not floating-point numbers.", hint="Quantized weights cannot be imported."
        )
    if not torch.isfinite(found.float()).all():
        hint = "The training that wrote it diverged; take an earlier checkpoint."
        raise BadWeights(f"{name} holds NaN or infinite values.", hint=hint)
    if name.endswith("running_var") and bool((found < 0).any()):
        raise BadWeights(f"{name} holds negative variances.", hint="The file is damaged; take another copy.")


def _tried(model: nn.Module) -> nn.Module:
    """Runs the network once: finite weights may still overflow."""
    windows = torch.stack([torch.full((3, INPUT_SIZE, INPUT_SIZE), level) for level in (0.0, 0.5, 255 / 256)])
    with torch.inference_mode():
        if not torch.isfinite(model(windows)).all():
            raise BadWeights("The network's output is not finite.", hint="The weights are damaged or far too large.")
    return model
