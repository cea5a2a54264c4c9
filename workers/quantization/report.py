"""What a quantization leaves behind: figures, tables and pictures in MLflow, and the job's result.

Names. The quantized network's figures carry the names that all job kinds use; the float one's are ``float/miou_96``, what is
lost between them is ``miou_96_drop``.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.contracts.jobs import Progress
from shared.contracts.quantization import QuantizationSpec
from shared.contracts.windows import Border
from shared.kit.tracking import RunSink
from shared.picosam import pictures
from shared.picosam.evaluation import plots
from shared.picosam.evaluation.answers import ious
from shared.picosam.evaluation.breakdown import Asked, sample_of
from shared.picosam.quantization.layers import Layer, worst
from shared.picosam.quantization.plots import noise_bars, range_bars
from workers.harness.context import JobContext
from workers.quantization.inputs import FloatModel, Windows
from workers.quantization.making import Made
from workers.quantization.scoring import Compared

FOLDER: Final = "quantization"
"""Of the run's artifacts."""


def metrics(floats: FloatModel, made: Made, compared: Compared) -> dict[str, float]:
    """All figures under the names that MLflow gets."""
    found = dict(compared.quantized.figures)
    found |= {f"float/{name}": value for name, value in compared.floats.figures.items()}
    for name, drop in compared.drops.items():
        ends = {"": drop.mean, "_low": drop.low, "_high": drop.high, "_p": drop.p_value}
        found |= {f"{name}_drop{end}": value for end, value in ends.items()}
    for border, agreement in compared.agreement.items():
        rule = "" if border is Border.AUTHORS else f"_{border.value}"
        kept = {"mask": agreement.mask_iou, "mask_p5": agreement.mask_iou_p5, "pixel": agreement.pixels}
        found |= {f"agreement_{what}{rule}": value for what, value in kept.items()}
    if made.faithful is not None:
        codes = {"pixels": made.faithful.pixels, "mask": made.faithful.mask_iou, "codes": made.faithful.codes_within_one}
        found |= {f"reference_{what}": value for what, value in codes.items()}
    return found | {
        "size_bytes": made.size_bytes,
        "float_size_bytes": floats.onnx.stat().st_size,
        "quantize_seconds": made.seconds,
        "windows_per_second": compared.quantized.windows_per_second,
        "float/windows_per_second": compared.floats.windows_per_second,
    }


def result(spec: QuantizationSpec, floats: FloatModel, made: Made, windows: Windows, compared: Compared) -> dict[str, Any]:
    """The job's result, and the report's JSON but for the layers."""
    first = windows.main.windows
    return {
        **metrics(floats, made, compared),
        "model": floats.name,
        "platform": spec.platform.value,
        "method": spec.method.value,
        "prompts": len(first),
        "images": int(np.unique(first.image_id).size),
        "calibration": asdict(windows.range),
        "bits": bits(made.layers),
        "worst_layers": [{"name": layer.name, "sqnr_db": layer.activation_sqnr_db} for layer in worst(made.layers)],
    }


def bits(layers: list[Layer]) -> dict[str, dict[str, int]]:
    """How many layers have kernels, and hand on activations, of how many bits."""
    found: dict[str, dict[str, int]] = {"weights": {}, "activations": {}}
    for layer in layers:
        for what, width in (("weights", layer.weight_bits), ("activations", layer.activation_bits)):
            if width is not None:
                found[what][str(width)] = found[what].get(str(width), 0) + 1
    return found


def log(
    ctx: JobContext,
    spec: QuantizationSpec,
    sink: RunSink,
    made: Made,
    windows: Windows,
    compared: Compared,
    found: Mapping[str, Any],
) -> dict[str, str]:
    """Log the report as JSON and all pictures; their artifact paths by name."""
    ctx.report(Progress(phase="pictures", done=0, unit="picture"))
    paths = {"report": f"{FOLDER}/report.json"}
    sink.artifact_json({**found, "layers": [asdict(layer) for layer in made.layers]}, paths["report"])
    for name, path in _drawn(ctx.folder / "pictures", spec, made, windows, compared).items():
        paths[name] = f"{FOLDER}/{path.name}"
        sink.artifact(path, paths[name])
    return paths


def _drawn(folder: Path, spec: QuantizationSpec, made: Made, windows: Windows, compared: Compared) -> dict[str, Path]:
    files = {name: folder / f"{name}.png" for name in ("noise", "ranges", "hit_rate", "iou_by_size")}
    noise_bars(made.layers, files["noise"])
    range_bars(made.layers, files["ranges"])
    asked = windows.main
    both = {"float": compared.floats.ious[asked.border], spec.method.value: compared.quantized.ious[asked.border]}
    plots.hit_curve(both, files["hit_rate"])
    plots.size_bars(both, asked.windows.area, files["iou_by_size"])
    if spec.pictures:
        files["samples_changed"] = folder / "samples_changed.png"
        samples = [_sample(asked, compared, row) for row in compared.changed_most(asked.border, spec.pictures)]
        pictures.sample_grid(samples, files["samples_changed"], masks=("quantized network's mask", "float network's mask"))
    return files


def _sample(asked: Asked, compared: Compared, row: int) -> pictures.Sample:
    """Both networks' masks of a prompt; the IoU is that of one with the other."""
    floats, quantized = compared.floats.answers[asked.border], compared.quantized.answers[asked.border]
    (alike,) = ious(floats.bits[row : row + 1], quantized.bits[row : row + 1]).tolist()
    return replace(sample_of(asked, row, quantized.mask(row), alike), truth=floats.mask(row))
