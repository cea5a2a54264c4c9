"""The model card: what the network is for, what it is worth, what it was made of; Markdown, from the registry's figures."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from shared.contracts.packages import CONVERTED, GOLDEN, ML_BOM, REFERENCE_MODEL, GoldenTolerance, RoiPolicy
from workers.packaging.history import Version
from workers.packaging.made import Made, memory_figures

PICTURES: Final = {
    "memory": "The sensor's memory.",
    "hit_rate": "Share of prompts that reach an IoU, before and after quantization.",
    "noise": "Signal to quantization noise by layer.",
}
"""What stands below each picture, by its name."""

_MEANINGS: Final = {
    "miou": "mean IoU with the true masks",
    "hit_rate_50_95": "mean share of prompts that reach an IoU of 0.50 ... 0.95",
    "agreement": "of the quantized network's masks with the float one's",
}
_KNOBS: Final = (
    "platform", "method", "calibration.samples", "recipe.architecture", "recipe.samples", "recipe.batch_size",
    "recipe.learning_rate", "recipe.seed", "teacher.kind", "teacher.size", "teacher.model", "distillation.view",
)  # fmt: skip
"""Parameters of the runs that a reader asks for first; the runs have all of them."""


def render(made: Made, pictures: Sequence[str]) -> str:
    """The card. ``pictures``: names of those that lie in the package, as pictures/NAME.png."""
    parts = (_title(made), _use(made), _interface(made), _worth(made), _memory(made), _golden(made), _origin(made))
    lines = [line for part in (*parts, _shown(pictures), _files()) for line in (*part, "")]
    return "\n".join(lines).rstrip() + "\n"


def _title(made: Made) -> Iterator[str]:
    config = made.model.config
    yield f"# {made.spec.line}: {made.model.name} for the Sony IMX500"
    yield ""
    yield (
        f"A {config.architecture} network that segments the object in the middle of its window, inside the image sensor. A "
        "point or a box chooses the window: the sensor's region of interest."
    )


def _use(made: Made) -> Iterator[str]:
    yield "## Use"
    yield ""
    if made.spec.notes:
        yield made.spec.notes
        yield ""
    yield (
        "One mask for one prompt. The network does not say what the object is, and has an answer for every window, also for "
        "one without an object. Its figures hold for images like those that it was evaluated on. It is not made for decisions "
        "on people's safety or rights."
    )


def _interface(made: Made) -> Iterator[str]:
    size, frames = made.model.config.input_size, made.frames
    shown = made.intrinsics.picofleet.input
    yield "## Input and output"
    yield ""
    yield from _table(
        ("", "shape", "codes", "a code is worth"),
        [
            (f"input, {shown.color_order}", f"{size}x{size}x3", "uint8", f"{shown.scale:g}: the pixel as the sensor has it"),
            ("output", f"{size}x{size}", frames.codes.dtype.name, f"{frames.step:g}; above 0 is object"),
        ],
    )
    yield ""
    yield f"Region of interest: {_roi(made.intrinsics.picofleet.roi)}. Labels: {', '.join(made.spec.labels)}."


def _roi(roi: RoiPolicy) -> str:
    box = f"the prompt's box with {roi.box_margin:.0%} more on each side"
    point = f"a square round the prompt, {roi.side_share:.0%} of the sensor's width"
    return f"{box if roi.prompt == 'box' else point}; at the border `{roi.border.value}`"


def _worth(made: Made) -> Iterator[str]:
    quantized = made.history.quantized
    both = (name for name in quantized.figures if f"float/{name}" in quantized.figures and _meaning(name))
    names = sorted(both, key=lambda name: (len(name), name))  # the shortest are those of the published protocol
    yield "## Figures"
    yield ""
    if not names:
        yield "The registry has none of this version."
        return
    rows = [(f"`{name}`", _number(quantized, f"float/{name}"), _number(quantized, name), _meaning(name)) for name in names]
    alone = [name for name in quantized.figures if name.startswith("agreement")]
    rows += [(f"`{name}`", "", _number(quantized, name), _MEANINGS["agreement"]) for name in alone]
    yield from _table(("figure", "float", "quantized", "meaning"), rows)
    validation = [data.name for data in quantized.data if data.role == "validation"]
    yield ""
    yield f"On the same prompts{f' of {validation[0]}' if validation else ''}, computed by the reference model on a CPU."


def _meaning(name: str) -> str:
    return next((meaning for beginning, meaning in _MEANINGS.items() if name.startswith(beginning)), "")


def _number(version: Version, name: str) -> str:
    return f"{version.figures[name]:.4f}"


def _memory(made: Made) -> Iterator[str]:
    memory = memory_figures(made.conversion.memory)
    sizes = (
        ("maps and code", memory.runtime_bytes),
        ("weights", memory.model_bytes),
        ("reserved", memory.reserved_bytes),
        ("in use", memory.used_bytes),
        ("on the chip", memory.available_bytes),
    )
    yield "## Memory"
    yield ""
    yield from _table(("", "bytes"), [(name, f"{size:,}") for name, size in sizes])
    yield ""
    persistent = "can" if made.conversion.memory.input_persistent else "cannot"
    yield f"{memory.utilization:.1%} of the sensor's memory. The camera {persistent} read the input beside the answers."


def _golden(made: Made) -> Iterator[str]:
    tolerance, frames = GoldenTolerance(), made.frames
    yield "## Golden frames"
    yield ""
    yield (
        f"{len(frames.windows)} windows of {made.golden_data}. A camera is right if {tolerance.min_share:.0%} of its output "
        f"codes are within {tolerance.max_lsb} of the reference model's. Of a wrong input so many are:"
    )
    yield ""
    meanings = {"bgr": "red and blue swapped", "contrast": "1.8 times the contrast", "shift": "shifted by a pixel"}
    rows = [(meanings[name], f"{share:.1%}") for name, share in frames.mistakes.items()]
    yield from _table(("input", "codes that agree"), rows)


def _origin(made: Made) -> Iterator[str]:
    yield "## Origin"
    yield ""
    rows = [(version.name, version.description, _knobs(version)) for version in made.history.versions]
    yield from _table(("version", "what it is", "how"), rows)
    if made.history.data:
        yield ""
        data = [(each.name, each.role, f"`{each.digest}`") for each in made.history.data]
        yield from _table(("data", "role", "digest"), data)
    yield ""
    yield f"Converted by imx500-converter {made.conversion.converter} (toolchain `{made.conversion.toolchain_digest}`)."


def _knobs(version: Version) -> str:
    known = version.parameters
    return ", ".join(f"{name} {known[name]}" for name in _KNOBS if known.get(name, "None") != "None")


def _shown(pictures: Sequence[str]) -> Iterator[str]:
    yield "## Pictures"
    for name in pictures:
        yield ""
        yield f"![{PICTURES[name]}](pictures/{name}.png)"
        yield ""
        yield PICTURES[name]


def _files() -> Iterator[str]:
    yield "## Files"
    yield ""
    yield f"- `{CONVERTED}`: the network for the sensor"
    yield f"- `{REFERENCE_MODEL}`: the reference model, for ONNX Runtime without its optimizer WeightBiasQuantization"
    yield f"- `{GOLDEN}`: the golden frames"
    yield f"- `{ML_BOM}`: what the network was made with, for programs"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    plain = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(plain)} |"
