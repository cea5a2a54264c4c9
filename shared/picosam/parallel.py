"""Data-parallel processes, started by torchrun. One process alone needs none of this and imports nothing for it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def rank() -> int:
    """Number of this process, 0 alone."""
    return dist.get_rank() if _joined() else 0


def world() -> int:
    """How many processes train together, 1 alone."""
    return dist.get_world_size() if _joined() else 1


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that torchrun started (RANK, WORLD_SIZE and MASTER_ADDR are set), and leaves them at the end.

    NCCL where each process has a GPU of its own, else gloo. Without torchrun it does nothing.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    on_gpus = torch.cuda.is_available() and torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    dist.init_process_group("nccl" if on_gpus else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def replicate(model: nn.Module) -> nn.Module:
    """The model wrapped so that its gradients are the mean over all processes; the model itself if there is one."""
    if world() == 1:
        return model
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model)


def mean(values: Tensor) -> Tensor:
    """The mean of ``values`` over all processes, on each of them."""
    if world() > 1:
        dist.all_reduce(values)
        values /= world()
    return values


def on_first(call: Callable[[], T]) -> T:
    """What ``call`` returns on process 0, on every process; the others wait and do not call. Small picklable values."""
    if world() == 1:
        return call()
    box = [call() if rank() == 0 else None]
    dist.broadcast_object_list(box, src=0)
    return cast(T, box[0])
