"""The exponential moving average of the weights: what is evaluated and exported."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

ModelT = TypeVar("ModelT", bound=nn.Module)


class Ema(Generic[ModelT]):
    """An average of a model's weights and running statistics, in evaluation mode."""

    def __init__(self, model: ModelT, decay: float) -> None:
        """``decay`` in 0..1 exclusive; with 0 the average is the model itself."""
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: ModelT, step: int) -> None:
        """Take in the weights after optimiser step ``step`` (from 1 on).

        Early on the average forgets faster, else the random start would weigh 0.998**500 = 37 % after 500 steps.
        """
        weight = 1 - min(self.decay, step / (10 + step))
        mine, theirs = _tensors(self.model), _tensors(model)
        averaged = [name for name, tensor in mine.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([mine[name] for name in averaged], [theirs[name] for name in averaged], weight)
        for name in mine.keys() - set(averaged):  # counters, as BatchNorm's num_batches_tracked
            mine[name].copy_(theirs[name])


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
