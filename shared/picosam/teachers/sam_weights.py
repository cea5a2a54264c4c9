"""A checkpoint of SAM 2.1 as Meta publishes it: looked at byte by byte before anything in it is believed."""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from shared.contracts.distillation import SamSize
from shared.picosam.errors import BadWeights

MAX_BYTES: Final = 4 * 1024**3
"""The largest published checkpoint has 0.9 GB."""

_BLOCKS: Final = {12: SamSize.TINY, 16: SamSize.SMALL, 24: SamSize.BASE_PLUS, 48: SamSize.LARGE}
"""Blocks of the image encoder, which tell the sizes apart."""

_BLOCK: Final = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.")
_ONLY_IN_2_1: Final = "no_obj_embed_spatial"
_PUBLISHED: Final = "Take the file that Meta publishes: picofleet teachers fetch {name}."


def read_checkpoint(path: Path, digest: str) -> dict[str, Tensor]:
    """The state dict in a PyTorch file, on the CPU. BadWeights if it is not the file of ``digest``, or not of tensors alone."""
    _check_file(path, digest)
    _check_zip(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about dtypes and versions of whatever a stranger wrote
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        hint = "Such a file is never loaded. Save the state dict alone: torch.save({'model': model.state_dict()}, path)."
        raise BadWeights("The checkpoint holds more than tensors, as Python code to be run on loading.", hint=hint) from error
    except Exception as error:  # a hostile file can make the parser raise anything
        hint = "Check that the copy is complete, and that it was written by torch.save."
        raise BadWeights(f"The checkpoint cannot be read: {type(error).__name__}: {error}"[:500], hint=hint) from error
    return _tensors(found)


def fill(network: nn.Module, state: Mapping[str, Tensor], size: SamSize) -> None:
    """Load ``state`` strictly into a network of ``size``. BadWeights that says which one the state is of, if of another."""
    wanted = network.state_dict()
    hint = _PUBLISHED.format(name=f"sam2.1-{size.value.replace('_', '-')}")
    if (found := size_of(state)) is not size:
        is_of = f"SAM 2.1 {found.value}" if found else "another network"
        raise BadWeights(f"The checkpoint is of {is_of}, and the teacher's size is {size.value}.", hint=hint)
    if _ONLY_IN_2_1 in wanted and _ONLY_IN_2_1 not in state:
        raise BadWeights("The checkpoint is of SAM 2, and the teacher is SAM 2.1.", hint=hint)
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unknown:
        said = f"{len(missing)} tensors missing, {len(unknown)} unknown, such as {(missing + unknown)[0][:80]}"
        raise BadWeights(f"The checkpoint is not of SAM 2.1 {size.value}: {said}.", hint=hint)
    for name, tensor in wanted.items():
        _check_tensor(name, state[name], tensor, hint)
    network.load_state_dict(dict(state))


def size_of(state: Mapping[str, Tensor]) -> SamSize | None:
    """Which size of SAM 2 or 2.1 a state dict is of; None if of none of them."""
    return _BLOCKS.get(len({found[1] for name in state if (found := _BLOCK.match(name))}))


def _check_file(path: Path, digest: str) -> None:
    size_bytes = path.stat().st_size
    if not 0 < size_bytes <= MAX_BYTES:
        message = f"The checkpoint has {size_bytes} bytes; between 1 and {MAX_BYTES} are read."
        raise BadWeights(message, hint="Take the file that Meta publishes.")
    with path.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != digest:
        hint = "Check that the copy is complete and the right one, or name the digest of this file in teacher.checkpoint."
        raise BadWeights(f"The checkpoint is {found}, and not {digest} as the job says.", hint=hint)


def _check_zip(path: Path) -> None:
    """Refuses what would unpack into more memory than allowed, and PyTorch's older, zipless format."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        hint = "Check that the copy is complete; write it with torch.save of PyTorch 1.6 or later."
        raise BadWeights("The checkpoint is not a whole PyTorch file.", hint=hint) from error
    if unpacked > MAX_BYTES:
        hint = "Write it with torch.save, uncompressed."
        raise BadWeights(f"The checkpoint unpacks to {unpacked} bytes; at most {MAX_BYTES} are read.", hint=hint)


def _tensors(found: object) -> dict[str, Tensor]:
    """The published files hold the state dict under ``model``."""
    if isinstance(found, Mapping) and isinstance(found.get("model"), Mapping):
        found = found["model"]
    if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
        hint = "Write it with torch.save({'model': model.state_dict()}, path)."
        raise BadWeights(f"The checkpoint holds a {type(found).__name__}, not a dict of tensors.", hint=hint)
    return dict(found)


def _check_tensor(name: str, found: object, wanted: Tensor, hint: str) -> None:
    if not isinstance(found, Tensor) or found.layout is not torch.strided or found.is_quantized:
        raise BadWeights(f"The checkpoint's {name} is not a plain tensor.", hint=hint)
    if found.shape != wanted.shape:
        message = f"The checkpoint's {name} has shape {list(found.shape)[:8]}, this network needs {list(wanted.shape)}."
        raise BadWeights(message, hint=hint)
    if not found.is_floating_point():
        raise BadWeights(f"The checkpoint's {name} holds {found.dtype}, not floating-point numbers.", hint=hint)
    if not torch.isfinite(found).all():
        raise BadWeights(f"The checkpoint's {name} holds NaN or infinite values.", hint=hint)
