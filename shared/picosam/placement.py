"""Where a network is computed, and in which arithmetic."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from shared.contracts.training import Compute, Precision
from shared.picosam.prompt import INPUT_SCALE

ModelT = TypeVar("ModelT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Placement:
    """A device, whether the forward and backward pass run in bfloat16, and the memory order of images."""

    device: torch.device
    bf16: bool
    memory_format: torch.memory_format

    def put(self, model: ModelT) -> ModelT:
        """The model moved here, weights in this memory order and still float32."""
        return model.to(self.device).to(memory_format=self.memory_format)  # type: ignore[call-overload,no-any-return]  # torch types one overload only

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 [B, 3, H, W] of 0..255 to the models' input: float32 pixel/256, here."""
        here = images.to(self.device, non_blocking=True)
        return here.to(torch.float32, memory_format=self.memory_format).mul_(INPUT_SCALE)

    def autocast(self) -> AbstractContextManager[None]:
        """The arithmetic of the forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def place(compute: Compute) -> Placement:
    """What ``compute`` asks for on this machine. ValueError if it asks for CUDA where there is none."""
    device = _device(compute)
    bf16 = has_fast_bf16(device) if compute.precision is Precision.AUTO else compute.precision is Precision.BF16
    order = torch.channels_last if compute.channels_last else torch.contiguous_format
    return Placement(device=device, bf16=bf16, memory_format=order)


def threads_for(compute: Compute) -> int:
    """Threads of one process: what was asked for, else this process's share of the cores it may run on."""
    return compute.threads or max(1, len(os.sched_getaffinity(0)) // compute.processes)


def has_fast_bf16(device: torch.device) -> bool:
    """True where bfloat16 convolutions run in hardware: elsewhere a CPU emulates them, more slowly than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _device(compute: Compute) -> torch.device:
    wanted = compute.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("compute.device is cuda, and this worker has no CUDA device; choose auto or cpu")
    return torch.device(wanted, int(os.environ.get("LOCAL_RANK", "0")) if wanted == "cuda" else 0)
