"""Pipelines that only need their parameters. A template is one entry of ``TEMPLATES``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import Field, ValidationError

from services.jobs.pipelines.plan import Impossible, field
from shared.contracts.base import Strict
from shared.contracts.datasets import DatasetSelection
from shared.contracts.distillation import Distillation, Teacher
from shared.contracts.jobs import JobKind
from shared.contracts.pipelines import Gate, StepIn, TemplateOut
from shared.contracts.problems import FieldError
from shared.contracts.quantization import LEAST_CALIBRATION, Gates, Method, Platform
from shared.contracts.training import Compute, EvaluationSettings, Recipe
from shared.kit.problems import field_errors

P = TypeVar("P", bound=Strict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(Generic[P]):
    """``steps`` may look at the parameters to choose, but refers to them for values: so that each is told once."""

    name: str
    description: str
    parameters: type[P]
    steps: Callable[[P], list[StepIn]]
    example: P
    """What a list of templates shows the steps of; where a parameter has no default, a likely value."""

    def expand(self, given: dict[str, Any]) -> tuple[dict[str, Any], list[StepIn]]:
        """All parameters with their defaults, and the steps. Impossible if a parameter is wrong."""
        try:
            parameters = self.parameters.model_validate(given)
        except ValidationError as exc:
            raise Impossible([_placed(error) for error in field_errors(exc.errors(include_url=False))]) from exc
        return parameters.model_dump(mode="json"), self.steps(parameters)

    def shown(self) -> TemplateOut:
        """For a list."""
        return TemplateOut(
            name=self.name,
            description=self.description,
            json_schema=self.parameters.model_json_schema(),
            steps=self.steps(self.example),
        )


def _placed(error: dict[str, str]) -> FieldError:
    return FieldError.model_validate(error | {"field": field("parameters", error["field"])})


class ForImx500(Strict):
    """Parameters of `picosam2-imx500`."""

    train: Annotated[list[DatasetSelection], Field(min_length=1, max_length=16)]
    validation: DatasetSelection = Field(description="held out: both models are chosen and evaluated on it")
    train_recipe: Recipe = Field(default=Recipe(), description="of the first model, which learns from masks alone")
    distil_recipe: Recipe = Field(default=Recipe(), description="of the second, which also learns from a teacher")
    teacher: Teacher | None = Field(default=None, description="null: the first model")
    distillation: Distillation = Distillation()
    compute: Compute = Compute()
    evaluation: EvaluationSettings = Field(default=EvaluationSettings(), description="during train and distil")
    max_prompts: int | None = Field(
        default=1000, ge=1, description="of the last evaluation: the first N non-crowd annotations; null: all"
    )
    pictures: int = Field(default=8, ge=0, le=32, description="of the last evaluation")
    method: Method = Field(default=Method.PTQ, description="how the sensor's network is quantized")
    calibration_samples: int = Field(
        default=160, ge=LEAST_CALIBRATION, le=4096, description="windows of the first training split that show both the ranges"
    )
    gates: Gates = Field(default=Gates(), description="what both quantized networks must keep, or the pipeline stops")
    quantize: bool = Field(default=True, description="for the sensor and for CPUs; false ends with the evaluation")
    package: bool = Field(
        default=True, description="make a signed package of the sensor's quantized network; needs Sony's converter"
    )
    max_memory_utilization: float = Field(
        default=1.0, gt=0, le=1, description="share of the sensor's memory that its network may take, or the pipeline stops"
    )
    min_miou: float | None = Field(
        default=None, ge=0, le=1, description="the pipeline stops where the second model's mIoU is lower; null: never"
    )


def _for_imx500(parameters: ForImx500) -> list[StepIn]:
    both = {name: f"${{parameters.{name}}}" for name in ("train", "validation", "compute", "evaluation")}
    train = StepIn(name="train", kind=JobKind.TRAINING, spec={**both, "recipe": "${parameters.train_recipe}"})
    first: Any = {"kind": "model", "model": "${steps.train.model}"}
    distil = StepIn(
        name="distil",
        kind=JobKind.DISTILLATION,
        spec={
            **both,
            "recipe": "${parameters.distil_recipe}",
            "teacher": first if parameters.teacher is None else "${parameters.teacher}",
            "distillation": "${parameters.distillation}",
        },
        # Also where SAM teaches: two jobs that fit networks at once are slower than one after the other.
        after=["train"],
        gates=_least_miou(parameters),
    )
    fitted = [train, distil, _compared(both)]
    if not parameters.quantize:
        return fitted
    quantized = [_quantized("quantize", Platform.IMX500), _quantized("quantize_cpu", Platform.CPU)]
    return [*fitted, *quantized, *([_packaged()] if parameters.package else [])]


def _least_miou(parameters: ForImx500) -> list[Gate]:
    if parameters.min_miou is None:
        return []
    return [Gate(figure=f"miou_{parameters.distil_recipe.window.label}", at_least="${parameters.min_miou}")]


def _compared(both: dict[str, str]) -> StepIn:
    models = [{"model": "${steps.distil.model}"}, {"model": "${steps.train.model}"}]
    told = {name: f"${{parameters.{name}}}" for name in ("max_prompts", "pictures", "compute")}
    return StepIn(name="evaluate", kind=JobKind.EVALUATION, spec={"models": models, "dataset": both["validation"], **told})


def _quantized(name: str, platform: Platform) -> StepIn:
    told = {field: f"${{parameters.{field}}}" for field in ("validation", "max_prompts", "gates", "compute")}
    spec = {
        **told,
        "model": "${steps.distil.model}",
        "platform": platform.value,
        "method": "${parameters.method}" if platform is Platform.IMX500 else Method.PTQ.value,
        "calibration": {"dataset": "${parameters.train.0}", "samples": "${parameters.calibration_samples}"},
    }
    return StepIn(name=name, kind=JobKind.QUANTIZATION, spec=spec, after=["evaluate"])


def _packaged() -> StepIn:
    # As many prompts as the quantization asks: their windows are prepared then.
    golden = {"dataset": "${parameters.validation}", "max_prompts": "${parameters.max_prompts}"}
    told = {"model": "${steps.quantize.model}", "max_memory_utilization": "${parameters.max_memory_utilization}"}
    # The last one: it needs a tool that may have to be installed first, and what can be made without is there by then.
    return StepIn(name="package", kind=JobKind.PACKAGING, spec={**told, "golden": golden}, after=["quantize_cpu"])


TEMPLATES: Final[dict[str, Template[Any]]] = {
    "picosam2-imx500": Template(
        name="picosam2-imx500",
        description="A PicoSAM2 for the IMX500: trains a first model on masks, distils a second one from a teacher (the first "
        "model, unless another is named), evaluates both on the same prompts, quantizes the second one for the sensor and "
        "for CPUs, and makes a signed package of the sensor's network.",
        parameters=ForImx500,
        steps=_for_imx500,
        example=ForImx500(
            train=[DatasetSelection(dataset="coco", split="train")],
            validation=DatasetSelection(dataset="coco", split="val"),
        ),
    )
}
