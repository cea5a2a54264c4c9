"""The quantization job: which network, for which platform, by which method, and how much it may lose."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Strict
from shared.contracts.datasets import DatasetSelection
from shared.contracts.evaluation import Comparison
from shared.contracts.training import Compute


class Platform(StrEnum):
    """What the quantized network runs on."""

    IMX500 = "imx500"
    """Inside the sensor: Sony's model-compression-toolkit, powers of two as scales of activations."""
    CPU = "cpu"
    """ONNX Runtime's int8 kernels: a network of its own, not what the sensor computes."""


class Method(StrEnum):
    """How the quantized weights are found."""

    PTQ = "ptq"
    """Post-training: ranges out of the calibration windows, weights rounded to the nearest."""
    GPTQ = "gptq"
    """Gradient-based: the rounding of each weight is learnt, so that layers answer as the float network's do."""
    QAT = "qat"
    """Quantization-aware training: the weights are trained on, through the quantizers, with the float network as teacher."""


MODEL_SUFFIX: Final = {Platform.IMX500: "imx500", Platform.CPU: "int8"}
"""A quantized network is a version of the model ``picosam2.imx500`` or ``picosam2.int8``."""

LEAST_CALIBRATION: Final = 16
"""Windows: with fewer the ranges of the deepest layers are a matter of luck."""


class Calibration(Strict):
    """Windows that show which ranges the activations have: cut round objects of all sizes alike, drawn by the seed."""

    dataset: DatasetSelection = Field(description="what the network was trained on, or images of the place where it will look")
    samples: int = Field(default=160, ge=LEAST_CALIBRATION, le=4096)
    seed: int = Field(default=0, ge=0, lt=2**32)
    allow_unusual: bool = Field(
        default=False, description="accept windows that look as if red and blue were swapped: an unusual place may look so too"
    )


class MixedPrecision(Strict):
    """Kernels of 8, 4 or 2 bits, chosen by how much each layer's answer suffers, so that all of them fit a size."""

    max_weights_bytes: int = Field(ge=1, description="of all kernels and biases together")
    samples: int = Field(default=32, ge=8, le=1024, description="calibration windows that each choice is tried on")
    hessian: bool = Field(default=False, description="weigh layers by the Hessian of the output: slower")


class Gptq(Strict):
    """Knobs of the method gptq."""

    epochs: int = Field(default=4, ge=1, le=500, description="over the calibration windows")
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="Adam, of the roundings")
    hessian: Literal["none", "layer", "sample"] = Field(
        default="none", description="what the layers' errors are weighed by; sample is the toolkit's default, and needs a GPU"
    )


class Qat(Strict):
    """Knobs of the method qat."""

    samples: int = Field(default=1600, ge=1, le=10_000_000, description="augmented windows of the calibration split")
    batch_size: int = Field(default=8, ge=1, le=1024)
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="AdamW, at the peak")


class Imx500Options(Strict):
    """How model-compression-toolkit quantizes."""

    bias_correction: bool = Field(default=True, description="make up in the biases for what rounding the weights shifts")
    shift_negative: bool = Field(
        default=True, description="move activations that reach below 0 a little, as those of Swish, into an unsigned range"
    )
    # The toolkit's kl is left out of both: after it PicoSAM2 answers nothing (mask IoU with the float network's 0.00), and on
    # kernels it takes many minutes.
    weights_error: Literal["mse", "mae", "noclipping", "hmse"] = Field(
        default="mse", description="what the thresholds of kernels make small; hmse: weighed by the Hessian, with gptq only"
    )
    activation_error: Literal["mse", "mae", "noclipping"] = Field(
        default="mse", description="what the ranges of activations make small"
    )
    mixed_precision: MixedPrecision | None = Field(default=None, description="null: every kernel has 8 bits")
    gptq: Gptq = Gptq()
    qat: Qat = Qat()


class CpuOptions(Strict):
    """How ONNX Runtime's static quantizer quantizes: activations in uint8, kernels in int8 per channel."""

    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        default="percentile", description="entropy clips what is rare, from which PicoSAM2 loses much"
    )
    percentile: float = Field(default=99.99, ge=90, le=100, description="of absolute values, for the calibration percentile")
    reduce_range: bool = Field(
        default=True,
        description="kernels of 7 bits, right on every processor; false: 8 bits, whose sums overflow on those without VNNI",
    )


class Gates(Strict):
    """What the quantized network must keep, or the job fails with the figures."""

    max_miou_drop: float = Field(default=0.01, ge=0, le=1, description="mean IoU of the float network less the quantized one's")
    max_size_bytes: int = Field(default=1_400_000, ge=1, description="imx500: kernels and biases; cpu: the ONNX file")


class QuantizationSpec(Strict):
    """A quantization job: makes a quantized version of a float one, and says what that costs."""

    kind: Literal["quantization"] = "quantization"
    spec_version: Literal[1] = 1
    model: str = Field(min_length=1, max_length=128, description="the float network: name/version or name@alias")
    platform: Platform = Platform.IMX500
    method: Method = Method.PTQ
    calibration: Calibration
    validation: DatasetSelection = Field(description="held out: both networks are asked its prompts and compared")
    max_prompts: int | None = Field(default=1000, ge=1, description="the first N non-crowd annotations; null: all")
    imx500: Imx500Options = Imx500Options()
    cpu: CpuOptions = CpuOptions()
    gates: Gates = Gates()
    comparison: Comparison = Comparison()
    pictures: int = Field(default=12, ge=0, le=64, description="samples drawn whose mask changed most")
    compute: Compute = Compute()
    register_as: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")] | None = Field(
        default_factory=lambda data: default_name(data),
        description="default: picosam2.imx500 or picosam2.int8, after the model's name; null: register nothing",
    )

    @model_validator(mode="after")
    def _fits_the_platform(self) -> "QuantizationSpec":
        if self.platform is Platform.CPU and self.method is not Method.PTQ:
            raise ValueError(f"method {self.method.value} is the toolkit's, for platform imx500; platform cpu knows ptq only")
        if self.imx500.weights_error == "hmse" and self.method is not Method.GPTQ:
            raise ValueError("imx500.weights_error hmse works with method gptq only")
        return self

    @model_validator(mode="after")
    def _validation_is_held_out(self) -> "QuantizationSpec":
        if self.validation == self.calibration.dataset:
            both = f"{self.validation.dataset}/{self.validation.split}"
            raise ValueError(f"validation {both} is also calibration.dataset; choose a held-out split")
        return self


def default_name(data: dict[str, object]) -> str | None:
    """``register_as`` of a spec that names none: the float model's name and what it was quantized for."""
    model, platform = data.get("model"), data.get("platform")
    if not isinstance(model, str) or not isinstance(platform, Platform):
        return None  # a spec whose other fields are wrong is refused for these
    name = model.partition("/")[0].partition("@")[0]
    return f"{name[: 62 - len(MODEL_SUFFIX[platform])]}.{MODEL_SUFFIX[platform]}"
