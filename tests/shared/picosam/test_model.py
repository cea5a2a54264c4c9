import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.picosam.fit import fit
from shared.picosam.model import (
    ARCHITECTURES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PICOSAM2_PARAMETERS,
    PICOSAM3_PARAMETERS,
    ChannelAttention,
    PicoSAM2,
    UnknownArchitecture,
    build_model,
    count_macs,
    count_parameters,
)
from shared.picosam.state import new_state
from tests.shared.picosam.conftest import lived_in

DOCS = Path(__file__).parents[3] / "docs/models.md"

# Of the published code's state dict; the inner normalisation is ours.
PUBLISHED_MODULES = [
    *("encoder_stage1", "down1", "encoder_stage2", "down2", "encoder_stage3", "down3", "encoder_stage4", "down4", "bottleneck"),
    *("up1", "skip_conn4", "up2", "skip_conn3", "up3", "skip_conn2", "up4", "skip_conn1", "output_head"),
]


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request) -> str:
    return request.param


def test_the_documentation_gives_each_networks_size(architecture):
    model = build_model(architecture)
    (row,) = (line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{architecture}` |"))
    assert f"| {count_parameters(model):,} | {count_macs(model) / 1e6:.0f} M |" in row


def test_networks_have_exactly_the_published_number_of_parameters():
    assert count_parameters(build_model()) == PICOSAM2_PARAMETERS == 1_262_818
    assert count_parameters(build_model("picosam3")) == PICOSAM3_PARAMETERS == 1_371_418


@pytest.mark.parametrize(
    ("name", "macs"), [("picosam2", 323_053_056), ("picosam2_wide", 715_924_224), ("picosam3", 330_162_496)]
)
def test_convolution_macs_of_one_window(name, macs):
    assert count_macs(build_model(name)) == macs


@pytest.mark.parametrize(
    ("name", "last"), [("picosam2", ["output_head"]), ("picosam2_wide", ["output_head"]), ("picosam3", ["eca", "refine"])]
)
def test_state_dict_has_the_published_modules_in_order_beside_the_inner_normalisation(name, last):
    modules = dict.fromkeys(key.split(".")[0] for key in build_model(name).state_dict())
    assert list(modules) == ["input_norm", *PUBLISHED_MODULES[:-1], *last]


def test_picosam3s_own_layers_are_nested_as_published():
    shapes = {name: tuple(tensor.shape) for name, tensor in build_model("picosam3").state_dict().items()}
    wanted = {
        "bottleneck.0.3.weight": (320, 256, 1, 1),
        "bottleneck.1.weight": (320, 1, 3, 3),
        "bottleneck.2.running_mean": (320,),
        "bottleneck.4.weight": (320, 320, 1, 1),
        "bottleneck.5.bias": (320,),
        "eca.conv1x1.weight": (40, 40, 1, 1),
        "refine.0.weight": (40, 1, 3, 3),
        "refine.1.weight": (40,),
        "refine.3.weight": (1, 40, 1, 1),
        "refine.3.bias": (1,),
    }
    assert {name: shape for name, shape in shapes.items() if name.split(".")[0] in ("bottleneck", "eca", "refine")}.items() >= (
        wanted.items()
    )
    assert "eca.conv1x1.bias" not in shapes


def test_the_dilated_bottleneck_looks_two_cells_away():
    bottleneck = build_model("picosam3", seed=0).eval().get_submodule("bottleneck")
    cells = torch.rand(1, 256, 9, 9, requires_grad=True)
    bottleneck(cells)[0, :, 4, 4].sum().backward()
    looked_at = cells.grad.abs().sum(dim=(0, 1)) > 0
    assert looked_at.any(dim=0).tolist() == looked_at.any(dim=1).tolist() == [False, *[True] * 7, False]


def test_channel_attention_scales_each_channel_by_the_means_of_all():
    attention = ChannelAttention(2).eval()
    with torch.no_grad():
        attention.conv1x1.weight.copy_(torch.tensor([[0.0, 1.0], [-2.0, 0.0]])[..., None, None])
    x = torch.stack([torch.full((4, 4), 3.0), torch.arange(16.0).reshape(4, 4)])[None]  # means 3 and 7.5
    factors = torch.sigmoid(torch.tensor([7.5, -6.0])).view(1, 2, 1, 1)
    torch.testing.assert_close(attention(x), x * factors)


def test_state_dict_names_follow_the_published_nesting():
    shapes = {name: tuple(tensor.shape) for name, tensor in build_model().state_dict().items()}
    assert shapes["encoder_stage1.0.weight"] == (3, 1, 3, 3)
    assert shapes["encoder_stage4.3.weight"] == (256, 160, 1, 1)
    assert shapes["down4.weight"] == (256, 256, 3, 3)
    assert shapes["up1.1.3.weight"] == (192, 320, 1, 1)
    assert shapes["up4.1.4.running_var"] == (40,)
    assert shapes["skip_conn1.bias"] == (40,)
    assert shapes["output_head.weight"] == (1, 40, 1, 1)


@pytest.mark.parametrize("size", [16, 96, 192])
def test_output_has_the_inputs_size(architecture, size):
    assert build_model(architecture, seed=0)(torch.rand(2, 3, size, size)).shape == (2, 1, size, size)


def test_input_norm_maps_pixels_as_imagenets_normalisation_does():
    pixels = torch.randint(0, 256, (2, 3, 16, 16)).float()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    found = PicoSAM2().input_norm(pixels / 256)
    torch.testing.assert_close(found, (pixels / 255 - mean) / std, rtol=1e-5, atol=1e-5)


def test_training_neither_updates_nor_uses_batch_statistics_in_the_input_norm():
    model = build_model(seed=0).train()
    before = copy.deepcopy(model.get_submodule("input_norm").state_dict())
    for _ in range(3):
        model(torch.rand(4, 3, 16, 16) * 0.1)
    after = model.get_submodule("input_norm").state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.training
    assert not model.get_submodule("input_norm").training


def test_input_norm_has_nothing_to_train_and_every_other_layer_gets_a_gradient(architecture):
    model = build_model(architecture, seed=0)
    model(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert list(model.get_submodule("input_norm").parameters()) == []
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_skips_are_added_so_each_reaches_the_output(architecture):
    model, window = lived_in(build_model(architecture, seed=0)), torch.rand(1, 3, 32, 32)
    whole = model(window)
    for name in ("skip_conn1", "skip_conn2", "skip_conn3", "skip_conn4"):
        cut = copy.deepcopy(model)
        nn.init.zeros_(cut.get_submodule(name).weight)
        assert not torch.allclose(cut(window), whole), name


def test_a_seed_fixes_the_weights_and_leaves_the_callers_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    models = [build_model(seed=seed).state_dict() for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    same = [all(torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(models)]
    assert same == [True, False]


def test_an_unknown_architecture_is_refused_with_the_names_there_are():
    with pytest.raises(UnknownArchitecture, match="no architecture 'picosam9'; there are: picosam2"):
        build_model("picosam9")


def test_every_network_can_learn_one_batch_by_heart(architecture, drawn_windows, a_recipe, plain, one_thread):
    recipe = a_recipe(architecture=architecture, samples=60, augmentation=plain, learning_rate=5e-3)
    losses = []
    fit(new_state(recipe, one_thread), recipe, one_thread, drawn_windows(count=4, canvas=96), Listening(losses))
    assert losses[-1] < 0.5 * losses[0]


class Listening:
    """Hooks that keep the losses."""

    def __init__(self, losses):
        self.losses = losses

    def stop_requested(self):
        return False

    def on_step(self, report):
        self.losses.append(report.loss)

    def on_eval(self, _state):
        return None

    def on_checkpoint(self, _state):
        pass
