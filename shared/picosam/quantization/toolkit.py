"""Sony's model-compression-toolkit as the sensor's networks need it: quantize a float network, with progress.

The toolkit reads a network with torch.fx, folds its BatchNorms into convolutions, watches calibration windows for ranges, and
gives a torch module with a quantizer behind every activation and round every kernel. Importing it takes 8 s: import this module
where it is used.
"""

import copy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.fx import Graph, Node, symbolic_trace
from tqdm.std import tqdm

import shared.picosam.torchvision_ops  # noqa: F401 - before the toolkit, which imports torchvision
from shared.contracts.quantization import Gptq, Imx500Options, MixedPrecision
from shared.picosam.export import batches
from shared.picosam.model import FrozenBatchNorm2d
from shared.picosam.quantization.calibration import Report
from shared.picosam.quantization.errors import SizeOutOfReach, UnsupportedOperators

BATCH: Final = 16
"""Calibration windows at a time."""

LEAST_BITS: Final = 2
"""Of a kernel, on the sensor."""

CAPABILITIES: Final = "1.0"
"""The toolkit's table of the IMX500 that networks are quantized by: 8-bit activations, kernels of 8, 4 or 2 bits."""

_ALL_CAPABILITIES: Final = "5.0"
"""The table with the most operators; one that none of them names is refused."""

_ALSO: Final = (nn.Upsample, nn.AdaptiveAvgPool2d, nn.Identity)
"""Operators that the tables leave to their default and the sensor computes: PicoSAM2 and PicoSAM3 have them."""


@dataclass(frozen=True, slots=True)
class Quantizing:
    """One network and the windows that it is calibrated on."""

    network: nn.Module
    """As ``traceable`` gives it."""
    windows: NDArray[np.uint8]
    """[N, S, S, 3] RGB."""
    options: Imx500Options
    report: Report
    seed: int = 0

    def batches(self) -> Iterator[list[NDArray[np.float32]]]:
        """What the toolkit calls a representative dataset, float32 [<= BATCH, 3, S, S] in pixel/256."""
        return ([batch] for batch in batches(self.windows, BATCH))


def traceable(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that torch.fx can read: it stops at torch's own modules, and ours would be read into.

    UnsupportedOperators names the operators that the sensor lacks, each with the layers that have it.
    """
    network = copy.deepcopy(model).cpu().eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, FrozenBatchNorm2d):
            _put(network, name, _plain_batch_norm(module))
    _check_operators(network)
    return network


def post_training(task: Quantizing) -> nn.Module:
    """PTQ: ranges out of the calibration windows, weights rounded to the nearest."""
    import model_compression_toolkit as mct

    with _watched(task):
        quantized, _ = mct.ptq.pytorch_post_training_quantization(
            task.network, task.batches, _target(task), _core(task), _capabilities()
        )
    return _module(quantized)


def gradient(task: Quantizing, how: Gptq) -> nn.Module:
    """GPTQ: each weight's rounding is learnt on the calibration windows, so that layers answer as the float network's do."""
    import model_compression_toolkit as mct

    settings = mct.gptq.get_pytorch_gptq_config(
        n_epochs=how.epochs,
        optimizer=torch.optim.Adam([torch.empty(0)], lr=how.learning_rate),
        use_hessian_based_weights=how.hessian != "none",
        use_hessian_sample_attention=how.hessian == "sample",
    )
    # Its optimizer of the biases overshoots, the more the longer: with the Hessian the error of a small network grew tenfold.
    settings.train_bias = False
    with _watched(task):
        quantized, _ = mct.gptq.pytorch_gradient_post_training_quantization(
            task.network,
            task.batches,
            _target(task),
            core_config=_core(task),
            gptq_config=settings,
            target_platform_capabilities=_capabilities(),
        )
    return _module(quantized)


def prepare_training(task: Quantizing) -> nn.Module:
    """QAT's beginning: the network as PTQ leaves it, with weights that can be trained through the quantizers."""
    import model_compression_toolkit as mct

    with _watched(task):
        prepared, _ = mct.qat.pytorch_quantization_aware_training_init_experimental(
            task.network, task.batches, _target(task), _core(task), target_platform_capabilities=_capabilities()
        )
    _freeze_ranges(prepared)
    return _module(prepared)


def _freeze_ranges(prepared: nn.Module) -> None:
    """Ranges of activations stay what PTQ found: they are powers of two, rounded up, so the least step up would double one."""
    from mct_quantizers import PytorchActivationQuantizationHolder

    for module in prepared.modules():
        if isinstance(module, PytorchActivationQuantizationHolder):
            module.requires_grad_(False)


def end_training(network: nn.Module) -> nn.Module:
    """QAT's end: the trained network with quantizers as PTQ would have made them."""
    import model_compression_toolkit as mct

    ended = mct.qat.pytorch_quantization_aware_training_finalize_experimental(network)
    return _module(ended)


def _module(quantized: Any) -> nn.Module:
    network: nn.Module = quantized
    return network.cpu().eval()


def _capabilities() -> Any:
    import model_compression_toolkit as mct

    return mct.get_target_platform_capabilities(tpc_version=CAPABILITIES, device_type="imx500")


def _core(task: Quantizing) -> Any:
    from model_compression_toolkit import core

    options, mixed = task.options, task.options.mixed_precision
    methods = core.QuantizationErrorMethod
    return core.CoreConfig(
        quantization_config=core.QuantizationConfig(
            activation_error_method=methods[options.activation_error.upper()],
            weights_error_method=methods[options.weights_error.upper()],
            weights_bias_correction=options.bias_correction,
            shift_negative_activation_correction=options.shift_negative,
        ),
        mixed_precision_config=core.MixedPrecisionQuantizationConfig(
            num_of_images=min(mixed.samples, len(task.windows)), use_hessian_based_scores=mixed.hessian
        )
        if mixed
        else None,
    )


# Sizes


def kernel_weights(network: nn.Module) -> dict[str, int]:
    """How many weights each kernel has, by its layer's name."""
    return {name: module.weight.numel() for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def biases_bytes(network: nn.Module) -> int:
    """What the biases take, four bytes each: every convolution has them once BatchNorm is folded into it."""
    return 4 * sum(module.out_channels for module in network.modules() if isinstance(module, nn.Conv2d))


def least_bytes(network: nn.Module) -> int:
    """What all kernels at the fewest bits and the biases take."""
    return -(-sum(kernel_weights(network).values()) * LEAST_BITS // 8) + biases_bytes(network)


def check_reachable(network: nn.Module, mixed: MixedPrecision) -> None:
    """SizeOutOfReach, with the smallest size that can be reached, if ``mixed`` asks for less."""
    least = least_bytes(network)
    if mixed.max_weights_bytes < least:
        raise SizeOutOfReach(
            f"max_weights_bytes is {mixed.max_weights_bytes:,}; with {LEAST_BITS} bits for every kernel and the biases in full "
            f"the network takes {least:,}",
            hint=f"Ask for {least:,} or more, or train a narrower network.",
        )


def _target(task: Quantizing) -> Any:
    """What the kernels may take; None without mixed precision."""
    from model_compression_toolkit.core import ResourceUtilization

    mixed = task.options.mixed_precision
    if mixed is None:
        return None
    check_reachable(task.network, mixed)
    return ResourceUtilization(weights_memory=mixed.max_weights_bytes - biases_bytes(task.network))


# What torch.fx and the sensor can take


def _plain_batch_norm(frozen: FrozenBatchNorm2d) -> nn.BatchNorm2d:
    """The same constants in torch's own module, with a scale and a shift that change nothing: the toolkit reads both."""
    norm = nn.BatchNorm2d(frozen.num_features, eps=frozen.eps)
    for name in ("running_mean", "running_var"):
        norm.get_buffer(name).copy_(frozen.get_buffer(name))
    return norm.eval()


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)


def _check_operators(network: nn.Module) -> None:
    missing = unsupported_operators(network)
    if missing:
        named = "; ".join(f"{operator} in {', '.join(layers)}" for operator, layers in missing.items())
        raise UnsupportedOperators(
            f"the sensor lacks operators of this network: {named}",
            hint="Replace them in the architecture: convolutions, ReLU, additions, nearest upsampling and pooling are there. "
            "Platform cpu runs the network as it is.",
        )


def unsupported_operators(network: nn.Module) -> dict[str, list[str]]:
    """Operators that no table of the sensor's capabilities names, each with the layers that have it."""
    known, missing = _known_operators(), dict[str, list[str]]()
    modules = dict(network.named_modules())
    for node in _graph(network).nodes:
        operator = _operator(node, modules)
        if operator is not None and not _is_known(operator, known):
            missing.setdefault(_shown(operator), []).append(_layer(node))
    return missing


def _graph(network: nn.Module) -> Graph:
    try:
        return symbolic_trace(network).graph
    except torch.fx.proxy.TraceError as exc:
        raise UnsupportedOperators(
            f"the network's way depends on its values, which the sensor cannot follow: {exc}",
            hint="Write its forward without conditions on tensors.",
        ) from exc


def _operator(node: Node, modules: dict[str, nn.Module]) -> Any:
    """A module's type, a function, or a method's name; None for what computes nothing."""
    match node.op:
        case "call_module":
            return type(modules[str(node.target)])
        case "call_function" | "call_method":
            return node.target
    return None


def _known_operators() -> frozenset[Any]:
    import model_compression_toolkit as mct
    from model_compression_toolkit.target_platform_capabilities.targetplatform2framework.attach2pytorch import (
        AttachTpcToPytorch,
    )

    table = mct.get_target_platform_capabilities(tpc_version=_ALL_CAPABILITIES, device_type="imx500")
    attached = AttachTpcToPytorch().attach(table)
    filtered = (layers.layer for layers in attached.filterlayer2qco)
    return frozenset([*attached.layer2qco, *filtered, *_ALSO])


def _is_known(operator: Any, known: frozenset[Any]) -> bool:
    if isinstance(operator, str):
        return any(getattr(each, "__name__", "") == operator for each in known)
    return operator in known


def _shown(operator: Any) -> str:
    return operator if isinstance(operator, str) else str(operator.__name__)


def _layer(node: Node) -> str:
    """The module as the network calls it; of a function the name that torch.fx gave its result."""
    return str(node.target) if node.op == "call_module" else node.name


# The toolkit's own progress and noise


@contextmanager
def _watched(task: Quantizing) -> Iterator[None]:
    """While the toolkit works its progress bars report instead of being drawn, warnings are left out, and the seed is set."""

    class Bar(tqdm):  # type: ignore[misc]  # tqdm ships no types
        def display(self, *_: Any, **__: Any) -> None:
            task.report(str(self.desc or "").removesuffix(": "), int(self.n), int(self.total or 0))

    with _tqdm_of_toolkit(Bar), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(task.seed)
        np.random.seed(task.seed)  # the toolkit draws from the global generator
        yield


@contextmanager
def _tqdm_of_toolkit(bar: type) -> Iterator[None]:
    """Its modules hold the name each by itself, so each is given ours for a while."""
    holders = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("model_compression_toolkit.") and getattr(module, "tqdm", None) is tqdm
    ]
    for module in holders:
        vars(module)["tqdm"] = bar
    try:
        yield
    finally:
        for module in holders:
            vars(module)["tqdm"] = tqdm
