"""The networks, in one file.

PicoSAM2 (Bonazzi et al., arXiv:2506.18807): a depthwise-separable U-Net for the Sony IMX500. PicoSAM3 (arXiv:2603.11917):
the same with a dilated bottleneck, channel attention and a refining head. Attribute names and layer order are those of the
published weights, so that a state dict of theirs loads by name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from shared.picosam.prompt import INPUT_SCALE

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
"""RGB, of pixel / 255."""

PICOSAM2_PARAMETERS: Final = 1_262_818
"""Trainable; the input normalisation has none."""

PICOSAM3_PARAMETERS: Final = 1_371_418
"""Trainable, as published."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of a U-Net: the encoder from fine to coarse, the bottleneck, the decoder back to fine."""

    encoder: tuple[int, int, int, int] = (48, 96, 160, 256)
    bottleneck: int = 320
    decoder: tuple[int, int, int, int] = (192, 128, 80, 40)


WIDE: Final = Widths((72, 144, 240, 384), 480, (288, 192, 120, 60))
"""One and a half times the published channels: 2.2 times the work. For a teacher; the sensor has no room for it."""


class PicoSAM2(nn.Module):
    """RGB window in, one logit per cell out; the window is the prompt."""

    def __init__(self, widths: Widths = Widths()) -> None:
        """``widths``: the published ones unless said otherwise."""
        super().__init__()
        (e1, e2, e3, e4), (d4, d3, d2, d1) = widths.encoder, widths.decoder
        self.input_norm = input_norm()
        self.encoder_stage1 = separable(3, e1)
        self.down1 = halve(e1)
        self.encoder_stage2 = separable(e1, e2)
        self.down2 = halve(e2)
        self.encoder_stage3 = separable(e2, e3)
        self.down3 = halve(e3)
        self.encoder_stage4 = separable(e3, e4)
        self.down4 = halve(e4)
        self.bottleneck = separable(e4, widths.bottleneck)
        self.up1 = double(widths.bottleneck, d4)
        self.skip_conn4 = nn.Conv2d(e4, d4, 1)
        self.up2 = double(d4, d3)
        self.skip_conn3 = nn.Conv2d(e3, d3, 1)
        self.up3 = double(d3, d2)
        self.skip_conn2 = nn.Conv2d(e2, d2, 1)
        self.up4 = double(d2, d1)
        self.skip_conn1 = nn.Conv2d(e1, d1, 1)
        self.output_head = nn.Conv2d(d1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: pixel/256, float [B, 3, S, S], S a multiple of 16 (96 on the sensor). Returns logits, float [B, 1, S, S]."""
        fine = self.encoder_stage1(self.input_norm(x))  # [B, 48, S, S]
        half = self.encoder_stage2(self.down1(fine))  # [B, 96, S/2, S/2]
        quarter = self.encoder_stage3(self.down2(half))  # [B, 160, S/4, S/4]
        eighth = self.encoder_stage4(self.down3(quarter))  # [B, 256, S/8, S/8]
        y = self.bottleneck(self.down4(eighth))  # [B, 320, S/16, S/16]
        y = self.up1(y) + self.skip_conn4(eighth)
        y = self.up2(y) + self.skip_conn3(quarter)
        y = self.up3(y) + self.skip_conn2(half)
        y = self.up4(y) + self.skip_conn1(fine)
        logits: Tensor = self.output_head(y)
        return logits


class PicoSAM3(nn.Module):
    """PicoSAM2 that looks wider at the bottleneck, weighs its last channels, and refines its answer. Made for box prompts.

    Written out rather than derived from PicoSAM2: each of the two can be read, and changed, by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = input_norm()
        self.encoder_stage1 = separable(3, 48)
        self.down1 = halve(48)
        self.encoder_stage2 = separable(48, 96)
        self.down2 = halve(96)
        self.encoder_stage3 = separable(96, 160)
        self.down3 = halve(160)
        self.encoder_stage4 = separable(160, 256)
        self.down4 = halve(256)
        self.bottleneck = dilated_bottleneck(256, 320)
        self.up1 = double(320, 192)
        self.skip_conn4 = nn.Conv2d(256, 192, 1)
        self.up2 = double(192, 128)
        self.skip_conn3 = nn.Conv2d(160, 128, 1)
        self.up3 = double(128, 80)
        self.skip_conn2 = nn.Conv2d(96, 80, 1)
        self.up4 = double(80, 40)
        self.skip_conn1 = nn.Conv2d(48, 40, 1)
        self.eca = ChannelAttention(40)
        self.refine = refine_head(40)

    def forward(self, x: Tensor) -> Tensor:
        """x: pixel/256, float [B, 3, S, S], S a multiple of 16 (96 on the sensor). Returns logits, float [B, 1, S, S]."""
        fine = self.encoder_stage1(self.input_norm(x))  # [B, 48, S, S]
        half = self.encoder_stage2(self.down1(fine))  # [B, 96, S/2, S/2]
        quarter = self.encoder_stage3(self.down2(half))  # [B, 160, S/4, S/4]
        eighth = self.encoder_stage4(self.down3(quarter))  # [B, 256, S/8, S/8]
        y = self.bottleneck(self.down4(eighth))  # [B, 320, S/16, S/16]
        y = self.up1(y) + self.skip_conn4(eighth)
        y = self.up2(y) + self.skip_conn3(quarter)
        y = self.up3(y) + self.skip_conn2(half)
        y = self.up4(y) + self.skip_conn1(fine)
        logits: Tensor = self.refine(self.eca(y))
        return logits


class ChannelAttention(nn.Module):
    """Each channel times a factor in 0..1, which is made of the means of all channels over the window."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)  # GlobalAveragePool in ONNX, whatever the window's size
        self.conv1x1 = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: float [B, C, H, W]; the same shape comes back."""
        factors: Tensor = self.conv1x1(self.avg_pool(x)).sigmoid()  # [B, C, 1, 1]
        return x * factors


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """A BatchNorm without parameters whose statistics are constants: training mode does not touch it.

    One BatchNorm, not a subtraction and a division: each of the two would get an activation quantizer of its own on the
    sensor, and the input would lose its lowest bit.
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        super().__init__(mean.numel(), affine=False)
        self.get_buffer("running_mean").copy_(mean)
        self.get_buffer("running_var").copy_(variance - self.eps)  # which the division adds again
        self.training = False

    def train(self, mode: bool = True) -> "FrozenBatchNorm2d":  # noqa: ARG002 - the signature is torch's
        """Stays in evaluation mode."""
        return self


def input_norm() -> FrozenBatchNorm2d:
    """ImageNet's mean and deviation for an input of pixel/256: 255/256 of those for pixel/255."""
    to_input = 255 * INPUT_SCALE
    mean, std = (to_input * torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return FrozenBatchNorm2d(mean, std**2)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 per channel, then 1x1 across channels; each with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def dilated_bottleneck(inputs: int, outputs: int) -> nn.Sequential:
    """A separable convolution, then one whose 3x3 looks at every second cell: 5 of the 6 cells that a window has there."""
    return nn.Sequential(
        separable(inputs, outputs),
        nn.Conv2d(outputs, outputs, 3, padding=2, dilation=2, groups=outputs, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def refine_head(channels: int) -> nn.Sequential:
    """3x3 per channel with BatchNorm and ReLU, then one logit of all channels."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, 1, 1),
    )


def halve(channels: int) -> nn.Conv2d:
    """A full 3x3 convolution with stride 2; the four of them hold 73 % of the parameters."""
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False)


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Each cell becomes four, then a separable convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), separable(inputs, outputs))


ARCHITECTURES: Final[dict[str, Callable[[], nn.Module]]] = {
    "picosam2": PicoSAM2,
    "picosam2_wide": partial(PicoSAM2, WIDE),
    "picosam3": PicoSAM3,
}
"""By the name that a recipe carries. A further in-sensor architecture is one more entry."""


class UnknownArchitecture(ValueError):
    """No network of that name."""


def build_model(name: str = "picosam2", seed: int | None = None) -> nn.Module:
    """A new network with torch's default initialisation, drawn from ``seed`` without touching the caller's generators.

    Without a seed it draws from torch's global generator. UnknownArchitecture names those there are.
    """
    if name not in ARCHITECTURES:
        raise UnknownArchitecture(f"no architecture {name!r}; there are: {', '.join(sorted(ARCHITECTURES))}")
    if seed is None:
        return ARCHITECTURES[name]()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ARCHITECTURES[name]()


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_macs(model: nn.Module, size: int = 96) -> int:
    """Multiply-accumulates of the convolutions for one window of ``size`` x ``size``, counted by torch."""
    first = next(model.parameters())
    window = torch.zeros(1, 3, size, size, device=first.device, dtype=first.dtype)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(window)
    operations: int = counter.get_total_flops()
    return operations // 2  # one MAC is two operations
