import torch
from torch import nn

from shared.picosam.ema import Ema
from shared.picosam.model import build_model


def a_model(value: float) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    with torch.no_grad():
        for tensor in [*model.parameters(), model[1].running_mean, model[1].running_var]:
            tensor.fill_(value)
    return model


def test_late_updates_move_by_one_minus_the_decay():
    ema = Ema(a_model(0.0), 0.9)
    ema.update(a_model(1.0), step=1_000_000)
    assert all(torch.allclose(tensor, torch.tensor(0.1)) for tensor in ema.model.parameters())
    assert torch.allclose(ema.model[1].running_mean, torch.tensor(0.1))  # statistics are averaged with the weights


def test_early_updates_forget_the_start_faster():
    ema = Ema(a_model(0.0), 0.999)
    ema.update(a_model(1.0), step=1)
    assert torch.allclose(ema.model[0].weight, torch.tensor(1 - 1 / 11))


def test_without_decay_the_average_is_the_model():
    ema = Ema(a_model(0.0), 0.0)
    model = a_model(3.0)
    model[1].num_batches_tracked.fill_(7)
    ema.update(model, step=50)
    assert all(torch.equal(a, b) for a, b in zip(ema.model.state_dict().values(), model.state_dict().values(), strict=True))


def test_the_average_neither_trains_nor_touches_the_input_normalisation():
    model = build_model("picosam2", 0)
    ema = Ema(model, 0.99)
    ema.update(build_model("picosam2", 1), step=5)
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    torch.testing.assert_close(ema.model.input_norm.running_mean, model.input_norm.running_mean, rtol=0, atol=0)
