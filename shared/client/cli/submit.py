"""`picofleet jobs submit`: a command per kind of job, each an answer to which fields people set most often.

Everything else is reached with ``--set PATH=VALUE`` or a file. What is given more exactly wins: ``--set`` over the other
options, these over the file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer

from shared.client.cli.common import JsonFlag, TagOption, UsageError, checked, client, err, out, pairs, print_json
from shared.client.cli.completion import complete_model, complete_split
from shared.client.cli.job_view import finish
from shared.client.cli.transfer import Transfer
from shared.client.cli.watch import follow
from shared.client.files import file_digest
from shared.contracts.datasets import DatasetSelection
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, TeacherView
from shared.contracts.jobs import DistillationSubmission, EvaluationSubmission, JobOut, Submission, TrainingSubmission
from shared.contracts.windows import Border

app = typer.Typer(no_args_is_help=True, help="Queue a job.")
S = TypeVar("S", bound=Submission)

TrainOption = Annotated[
    list[str] | None, typer.Option(metavar="DATASET/SPLIT", help="May be repeated.", autocompletion=complete_split)
]
SplitOption = Annotated[str | None, typer.Option(metavar="DATASET/SPLIT", autocompletion=complete_split)]
NameOption = Annotated[str | None, typer.Option(help="Shown in lists and as the MLflow run's name.")]
SamplesOption = Annotated[int | None, typer.Option(help="Samples drawn in all.")]
BatchOption = Annotated[int | None, typer.Option()]
RateOption = Annotated[float | None, typer.Option(help="At the peak.")]
SeedOption = Annotated[int | None, typer.Option()]
ArchitectureOption = Annotated[str | None, typer.Option(help="picosam2, picosam2_wide or picosam3.")]
InitialOption = Annotated[
    str | None, typer.Option(metavar="NAME/VERSION", help="Start from these weights.", autocompletion=complete_model)
]
RegisterOption = Annotated[str | None, typer.Option(help="Name in the model registry; default: picosam2.")]
NoRegisterFlag = Annotated[bool, typer.Option("--no-register", help="Register nothing.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any other knob, as recipe.augmentation.flip=0.")
]
SpecOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file with the submission; options go before it.")
]
WatchFlag = Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")]

_TEACHERS: Final = {published.name: size for size, published in PUBLISHED_CHECKPOINTS.items()}


@app.command("training")
def training(
    ctx: typer.Context,
    train: TrainOption = None,
    validation: SplitOption = None,
    name: NameOption = None,
    architecture: ArchitectureOption = None,
    samples: SamplesOption = None,
    batch_size: BatchOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    initial_model: InitialOption = None,
    register_as: RegisterOption = None,
    no_register: NoRegisterFlag = False,
    tag: TagOption = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a network from masks.

    `picofleet jobs kinds --json` lists every knob with its default and range.

      picofleet jobs submit training --train coco2017/train --validation coco2017/val --watch
      picofleet jobs submit training --train a/train --train b/all --validation a/val --set recipe.window.side=128
    """
    recipe = _recipe(architecture, samples, batch_size, learning_rate, seed)
    fields = _data(train, validation) | recipe | {"name": name, "initial_model": initial_model, "register_as": register_as}
    wanted = draft(spec, fields, tag, set_, no_register=no_register)
    require(wanted, {"train": "--train coco2017/train", "validation": "--validation coco2017/val"})
    body = submission(TrainingSubmission, wanted)
    queued(ctx, client(ctx).jobs.submit_training(body), watch=watch, as_json=as_json)


@app.command("distillation")
def distillation(
    ctx: typer.Context,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help=f"A registered version (NAME/VERSION or NAME@ALIAS), or {', '.join(_TEACHERS)}.",
            autocompletion=complete_model,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="SAM 2.1 weights other than the published ones; uploaded."),
    ] = None,
    train: TrainOption = None,
    validation: SplitOption = None,
    view: Annotated[TeacherView | None, typer.Option(help="What of the image the teacher sees.")] = None,
    loss: Annotated[
        Literal["per_sample", "paper"] | None, typer.Option(help="Weighed by the teacher's quality, or the paper's text.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Of the teacher, 0..1, at the first step.")] = None,
    final_weight: Annotated[float | None, typer.Option(help="At the last step; with --schedule.")] = None,
    schedule: Annotated[Literal["constant", "linear", "cosine"] | None, typer.Option()] = None,
    temperature: Annotated[float | None, typer.Option()] = None,
    name: NameOption = None,
    architecture: ArchitectureOption = None,
    samples: SamplesOption = None,
    batch_size: BatchOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = None,
    initial_model: InitialOption = None,
    register_as: RegisterOption = None,
    no_register: NoRegisterFlag = False,
    tag: TagOption = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a network from masks and from a teacher's answers.

    SAM 2.1's weights must be on the platform first: `picofleet teachers fetch sam2.1-tiny`.

      picofleet jobs submit distillation --teacher sam2.1-tiny --train coco2017/train --validation coco2017/val --watch
      picofleet jobs submit distillation --teacher picosam2@champion --view context --train a/train --validation a/val
    """
    recipe = _recipe(architecture, samples, batch_size, learning_rate, seed)
    fields = _data(train, validation) | recipe | {"name": name, "initial_model": initial_model, "register_as": register_as}
    fields |= {"teacher": teacher_of(teacher) if teacher else None}
    if checkpoint is not None:
        fields |= {"teacher.checkpoint": {"digest": file_digest(checkpoint)}}
    knobs = {"loss": loss, "weight": weight, "final_weight": final_weight, "schedule": schedule, "temperature": temperature}
    fields |= {f"distillation.{key}": value for key, value in knobs.items()} | {"distillation.view": view and view.value}
    wanted = draft(spec, fields, tag, set_, no_register=no_register)
    needed = {"teacher": "--teacher sam2.1-tiny", "train": "--train coco2017/train", "validation": "--validation coco2017/val"}
    require(wanted, needed)
    body = submission(DistillationSubmission, wanted)
    if checkpoint is not None:  # after the check of all options: it may be large
        with Transfer(checkpoint.name) as bar:
            client(ctx).blobs.upload(checkpoint, on_progress=bar.update)
    queued(ctx, client(ctx).jobs.submit_distillation(body), watch=watch, as_json=as_json)


@app.command("evaluation")
def evaluation(
    ctx: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME/VERSION[:RUNTIME]",
            help="As picosam2/3, picosam2@champion or picosam2/3:torch; all others are compared with the first.",
            autocompletion=complete_model,
        ),
    ] = None,
    dataset: SplitOption = None,
    max_prompts: Annotated[int | None, typer.Option(help="The first so many masks; the papers': 1000; default: all.")] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="[point|box]", help="May be repeated; default: as the first model was trained."),
    ] = None,
    border: Annotated[list[Border] | None, typer.Option(help="May be repeated; default: every border rule.")] = None,
    jitter: Annotated[
        str | None, typer.Option(metavar="SHARE,...", help="Prompt noise as shares of the box, as 0,0.05,0.1,0.2,0.3.")
    ] = None,
    no_mask_ap: Annotated[bool, typer.Option("--no-mask-ap", help="Leave the mask AP out.")] = False,
    name: NameOption = None,
    tag: TagOption = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Score one model, or compare several on the same prompts.

    picofleet jobs submit evaluation --model picosam2/2 --model picosam2/1 --dataset coco2017/val --watch
    picofleet jobs submit evaluation --model picosam3/1 --dataset coco2017/val --prompt box --jitter 0,0.1,0.2,0.3
    """
    fields = {
        "name": name,
        "models": [_evaluated(text) for text in model] if model else None,
        "dataset": selection(dataset) if dataset else None,
        "max_prompts": max_prompts,
        "windows": [{"prompt": kind} for kind in prompt] if prompt else None,
        "borders": [rule.value for rule in border] if border else None,
        "jitter": _shares(jitter) if jitter is not None else None,
        "mask_ap": False if no_mask_ap else None,
    }
    wanted = draft(spec, fields, tag, set_)
    require(wanted, {"models": "--model picosam2/1", "dataset": "--dataset coco2017/val"})
    body = submission(EvaluationSubmission, wanted)
    queued(ctx, client(ctx).jobs.submit_evaluation(body), watch=watch, as_json=as_json)


def draft(
    spec: Path | None,
    fields: Mapping[str, Any],
    tags: list[str] | None,
    settings: list[str] | None,
    *,
    no_register: bool = False,
) -> dict[str, Any]:
    """A submission, not checked yet, from a file, options by dotted path (None: not given), ``--tag`` and ``--set``."""
    wanted = json_object(spec) if spec is not None else {}
    for path, value in fields.items():
        if value is not None:
            put(wanted, path, value)
    if no_register:
        wanted["register_as"] = None
    if tags:
        wanted["tags"] = wanted.get("tags", {}) | pairs(tags, "--tag")
    for path, text in pairs(settings or [], "--set").items():
        put(wanted, path, json_value(text))
    return wanted


def submission(kind: type[S], wanted: Mapping[str, Any]) -> S:
    """The checked submission; UsageError naming each wrong field."""
    return checked(lambda: kind.model_validate(wanted))


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; UsageError if it holds none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as exc:
        raise UsageError(f"{path} is no JSON file: {exc}") from exc
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object.")
    return found


def json_value(text: str) -> Any:
    """``text`` read as JSON where it is JSON, else as it is."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def put(target: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path, whose whole numbers count in lists; UsageError if it leads through something else."""
    *folders, last = path.split(".")
    place: Any = target
    for folder in folders:
        place = place.setdefault(folder, {}) if isinstance(place, dict) else _item(place, folder, path)
    if isinstance(place, dict):
        place[last] = value
    else:
        _item(place, last, path)
        place[int(last)] = value


def _item(place: Any, part: str, path: str) -> Any:
    if not isinstance(place, list):
        raise UsageError(f"--set {path}: there is no group of settings that holds {part}.")
    if not part.isdecimal() or int(part) >= len(place):
        raise UsageError(f"--set {path}: {part} is none of the {len(place)} entries, which are counted from 0.")
    return place[int(part)]


def queued(ctx: typer.Context, job: JobOut, *, watch: bool, as_json: bool) -> None:
    """Print a new job's id, or follow it to its end; JobFailed unless it succeeds then."""
    if watch:
        finish(follow(client(ctx), job.id), as_json)
    elif as_json:
        print_json(job)
    else:
        err().print(f"Queued. Follow it with `picofleet jobs watch {job.id}`.")
        out().print(job.id)


def _recipe(
    architecture: str | None, samples: int | None, batch_size: int | None, learning_rate: float | None, seed: int | None
) -> dict[str, Any]:
    recipe = {"architecture": architecture, "samples": samples, "batch_size": batch_size, "learning_rate": learning_rate}
    return {f"recipe.{key}": value for key, value in (recipe | {"seed": seed}).items()}


def _data(train: list[str] | None, validation: str | None) -> dict[str, Any]:
    return {
        "train": [selection(text) for text in train] if train else None,
        "validation": selection(validation) if validation else None,
    }


def require(wanted: Mapping[str, Any], examples: Mapping[str, str]) -> None:
    """UsageError for the first field that was not given; ``examples``: how each is given, by field."""
    for field, example in examples.items():
        if field not in wanted:
            raise UsageError(f"{example.split()[0]} is missing.", hint=f"As in {' '.join(examples.values())}.")


def selection(text: str) -> dict[str, str]:
    """``dataset/split`` as its two parts; UsageError for anything else."""
    dataset, slash, split = text.rpartition("/")
    if not slash or not dataset or not split:
        raise UsageError(f"{text!r} is not written DATASET/SPLIT.", hint="As in coco2017/train.")
    return checked(lambda: DatasetSelection(dataset=dataset, split=split)).model_dump()


def teacher_of(text: str) -> dict[str, str]:
    """A published teacher's name or a registered version as a teacher; UsageError for anything else."""
    if text in _TEACHERS:
        return {"kind": "sam2", "size": _TEACHERS[text].value}
    if "/" in text or "@" in text:
        return {"kind": "model", "model": text}
    raise UsageError(
        f"{text!r} is no teacher.",
        hint=f"Known: {', '.join(_TEACHERS)}; or a registered version, as picosam2/3 or picosam2@champion.",
    )


def _evaluated(text: str) -> dict[str, str]:
    model, colon, runtime = text.partition(":")
    return {"model": model} | ({"runtime": runtime} if colon else {})


def _shares(text: str) -> list[float]:
    try:
        return [float(share) for share in text.split(",") if share.strip()]
    except ValueError as exc:
        raise UsageError(f"--jitter {text}: a share is no number.", hint="As in 0,0.05,0.1,0.2,0.3.") from exc
