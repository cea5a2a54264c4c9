"""`picofleet quantize`, which is `picofleet jobs submit quantization`: the same command under a short name."""

from typing import Annotated, Any

import typer

from shared.client.cli.common import JsonFlag, TagOption, client
from shared.client.cli.completion import complete_model, complete_split
from shared.client.cli.submit import (
    NameOption,
    NoRegisterFlag,
    SetOption,
    SpecOption,
    WatchFlag,
    draft,
    queued,
    require,
    selection,
    submission,
)
from shared.contracts.jobs import QuantizationSubmission
from shared.contracts.quantization import Method, Platform

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME/VERSION", help="A float version; NAME@ALIAS too.", autocompletion=complete_model),
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        metavar="DATASET/SPLIT", help="Images that show the ranges: the training split.", autocompletion=complete_split
    ),
]
ValidationOption = Annotated[
    str | None,
    typer.Option(metavar="DATASET/SPLIT", help="Held out: both networks are asked its prompts.", autocompletion=complete_split),
]


def quantize(
    ctx: typer.Context,
    model: ModelArgument = None,
    calibration: CalibrationOption = None,
    validation: ValidationOption = None,
    platform: Annotated[Platform | None, typer.Option(help="The sensor, or ONNX Runtime on CPUs.")] = None,
    method: Annotated[
        Method | None, typer.Option(help="ptq: no training; gptq: learnt roundings; qat: trained through the quantizers.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Calibration windows.")] = None,
    max_weights_bytes: Annotated[
        int | None, typer.Option(help="Mixed precision: kernels of 8, 4 and 2 bits that fit this size.")
    ] = None,
    max_miou_drop: Annotated[float | None, typer.Option(help="More lost than this fails the job.")] = None,
    max_size_bytes: Annotated[int | None, typer.Option(help="A larger network fails the job.")] = None,
    max_prompts: Annotated[int | None, typer.Option(help="The first so many masks; default: 1000.")] = None,
    register_as: Annotated[
        str | None, typer.Option(help="Name in the model registry; default: picosam2.imx500 or picosam2.int8.")
    ] = None,
    no_register: NoRegisterFlag = False,
    name: NameOption = None,
    tag: TagOption = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Quantize a float version to 8 bits, and see what that costs.

    picofleet quantize picosam2/2 --calibration coco2017/train --validation coco2017/val --watch
    picofleet quantize picosam2@champion --platform cpu --calibration coco2017/train --validation coco2017/val
    picofleet quantize picosam2/2 --method gptq --set imx500.gptq.epochs=10 --calibration a/train --validation a/val
    """
    fields: dict[str, Any] = {
        "name": name,
        "model": model,
        "calibration.dataset": selection(calibration) if calibration else None,
        "calibration.samples": samples,
        "validation": selection(validation) if validation else None,
        "platform": platform and platform.value,
        "method": method and method.value,
        "imx500.mixed_precision.max_weights_bytes": max_weights_bytes,
        "gates.max_miou_drop": max_miou_drop,
        "gates.max_size_bytes": max_size_bytes,
        "max_prompts": max_prompts,
        "register_as": register_as,
    }
    wanted = draft(spec, fields, tag, set_, no_register=no_register)
    require(wanted, {"model": "picosam2/2"})
    require(wanted, {"calibration": "--calibration coco2017/train", "validation": "--validation coco2017/val"})
    body = submission(QuantizationSubmission, wanted)
    queued(ctx, client(ctx).jobs.submit_quantization(body), watch=watch, as_json=as_json)
