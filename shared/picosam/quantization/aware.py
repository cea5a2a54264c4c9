"""Quantization-aware training: the one fitting loop, through the toolkit's quantizers, with the float network as teacher."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.contracts.quantization import Qat
from shared.contracts.training import Compute, Precision, Recipe
from shared.contracts.windows import WindowPolicy
from shared.picosam.data.errors import Stopped
from shared.picosam.fit import Ending, Hooks, fit
from shared.picosam.loader import Batch, Windows
from shared.picosam.losses import Losses, bce_loss
from shared.picosam.placement import Placement
from shared.picosam.quantization import toolkit
from shared.picosam.state import chosen_weights, new_state


@dataclass(frozen=True, slots=True)
class FromFloat:
    """What the float network answers to the same augmented windows is right; the masks are not looked at.

    The quantized network shall be the float one, not a network that was trained a little longer.
    """

    network: nn.Module
    placement: Placement

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> Losses:  # noqa: ARG002 - an Objective
        """Mean cross entropy against the float network's probabilities, in loss_teacher.

        Its least value is at the same answer. Dice, which distillation adds, is least where soft answers become hard ones.
        """
        with torch.no_grad():
            wanted = self.network(self.placement.inputs(batch.images)).float().sigmoid()
        loss = bce_loss(logits.float(), wanted).mean()
        return Losses(total=loss, parts={"loss_teacher": loss})


def recipe_of(how: Qat, window: WindowPolicy, seed: int) -> Recipe:
    """QAT's knobs as the loop knows them; augmented as training is by default."""
    return Recipe(
        samples=how.samples,
        batch_size=how.batch_size,
        learning_rate=how.learning_rate,
        seed=seed,
        window=window,
        weight_decay=0,
    )


def train(
    task: toolkit.Quantizing, model: nn.Module, data: Windows, recipe: Recipe, compute: Compute, hooks: Hooks
) -> nn.Module:
    """The quantized network after training on ``data`` (windows with a margin). ``model``: the float network.

    Stopped if ``hooks`` asked for it. Raises Diverged.
    """
    prepared = toolkit.prepare_training(task)
    # In bfloat16 the steps between two codes would drown.
    compute = compute.model_copy(update={"precision": Precision.FP32, "processes": 1})
    state = new_state(recipe, compute, prepared)
    _freeze_norms(state.model)
    teacher = state.placement.put(model).eval()
    if fit(state, recipe, compute, data, hooks, objective=FromFloat(teacher, state.placement)) is Ending.STOPPED:
        raise Stopped
    prepared.load_state_dict(chosen_weights(state, recipe))
    return toolkit.end_training(prepared)


def _freeze_norms(network: nn.Module) -> None:
    """The input's normalisation is a constant: in training mode it would follow each batch, and answer as another network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
