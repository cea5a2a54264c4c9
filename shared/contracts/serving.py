"""What a model folder says to whoever runs its network: ``config.json`` and ``serving.json``, without torch."""

from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Digest, Lenient
from shared.contracts.windows import Border, WindowPolicy

NETWORK_FILE: Final = "model.onnx"
CONFIG_FILE: Final = "config.json"
SERVING_FILE: Final = "serving.json"

NETWORK_DIGEST_TAG: Final = "picofleet.network_digest"
"""Of a version: sha256 of its model.onnx, in the registry and so apart from the file."""

HISTOGRAM_BINS: Final = 20
"""Of mask areas and confidences, both shares in 0..1."""

Share = Annotated[float, Field(ge=0, le=1)]


class ServedConfig(Lenient):
    """``config.json``: how to run model.onnx. Versions of any age have it."""

    format: Literal[1] = 1
    architecture: str = "picosam2"
    input: Literal["pixel/256"] = "pixel/256"
    input_size: int = Field(default=96, ge=16, le=1024)
    window: WindowPolicy = WindowPolicy()
    quantization: Literal["fake_quant", "int8"] | None = None


class Calibration(Lenient):
    """From the soft IoU of a mask's probabilities to the IoU to expect: straight lines between knots.

    Fitted on validation windows (monotone regression), so ``soft_iou`` and ``expected_iou`` both rise. The figures were
    measured across two halves of them by images: each half scored by the curve of the other.
    """

    soft_iou: list[Share] = Field(min_length=2, max_length=64)
    expected_iou: list[Share] = Field(min_length=2, max_length=64)
    windows: int = Field(ge=1, description="that it was fitted on")
    border: Border = Border.PAD
    rank_correlation: float = Field(ge=-1, le=1, description="Spearman's, of expected and true IoU")
    mean_abs_error: Share = Field(description="of the expected IoU of single masks")
    calibration_error: Share = Field(description="mean difference of expected and true IoU over ten equally large groups")

    @model_validator(mode="after")
    def _rises(self) -> "Calibration":
        if len(self.soft_iou) != len(self.expected_iou):
            raise ValueError("soft_iou and expected_iou have one entry per knot")
        rising = all(a < b for a, b in pairwise(self.soft_iou)) and all(a <= b for a, b in pairwise(self.expected_iou))
        if not rising:
            raise ValueError("the knots of a calibration must rise")
        return self


class Golden(Lenient):
    """A window and the mask that the network gave when it was made, both as PNG in base64."""

    window: str = Field(max_length=262_144, description="RGB, input_size x input_size")
    mask: str = Field(max_length=65_536, description="one bit per cell")


class Reference(Lenient):
    """How the masks of validation windows are spread, for comparison with what is served: shares per bin, that add up to 1."""

    area: list[Share] = Field(min_length=HISTOGRAM_BINS, max_length=HISTOGRAM_BINS, description="mask cells / window cells")
    confidence: list[Share] = Field(min_length=HISTOGRAM_BINS, max_length=HISTOGRAM_BINS, description="expected IoU")
    empty: Share = Field(description="share of windows without a mask; in no bin")
    windows: int = Field(ge=1)


class ServingCard(Lenient):
    """``serving.json``: how to see that the network runs as it should, and what its probabilities are worth.

    Versions made before it, and imported ones, have none, or one without calibration and reference.
    """

    format: Literal[1] = 1
    network_digest: Digest
    golden: list[Golden] = Field(default_factory=list, max_length=16)
    calibration: Calibration | None = None
    reference: Reference | None = None
