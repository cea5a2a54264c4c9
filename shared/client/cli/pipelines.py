"""`picofleet pipelines`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    TagOption,
    UsageError,
    age,
    checked,
    client,
    err,
    escaped,
    out,
    pairs,
    print_json,
    show_list,
)
from shared.client.cli.completion import complete_pipeline, complete_template
from shared.client.cli.pipeline_view import coloured, follow_pipeline, require_success, show_pipeline, summary
from shared.client.cli.submit import SplitOption, TrainOption, draft, json_value, put, selection, teacher_of
from shared.contracts.pipelines import PipelineIn, PipelineOut, RetryIn

app = typer.Typer(no_args_is_help=True, help="Jobs that build on each other: train, distil, evaluate.")

PipelineArgument = Annotated[
    str, typer.Argument(help="Id of the pipeline, or `last` for the newest.", autocompletion=complete_pipeline)
]


@app.command("submit")
def submit(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="JSON file with the pipeline; options go before it.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="One of `picofleet pipelines templates`.", autocompletion=complete_template)
    ] = None,
    train: TrainOption = None,
    validation: SplitOption = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="TEACHER", help="sam2.1-tiny, ..., or NAME/VERSION; default: the template's.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="PATH=VALUE", help="Of the pipeline, as train_recipe.samples=5000."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Shown in lists; default: the template's name.")] = None,
    tag: TagOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the pipeline to its end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a pipeline from a template, or from a file with steps of its own.

    picofleet pipelines submit --template picosam2-imx500 --train coco2017/train --validation coco2017/val --watch
    picofleet pipelines submit mine.json -p train_recipe.samples=5000
    """
    fields: dict[str, Any] = {
        "template": template,
        "name": name,
        "parameters.train": [selection(text) for text in train] if train else None,
        "parameters.validation": selection(validation) if validation else None,
        "parameters.teacher": teacher_of(teacher) if teacher else None,
    }
    wanted = draft(file, fields, tag, None)
    for path, text in pairs(parameter or [], "--parameter").items():
        put(wanted, f"parameters.{path}", json_value(text))
    if not wanted.get("template") and not wanted.get("steps"):
        raise UsageError("Neither a template nor a file with steps was given.", hint="See `picofleet pipelines templates`.")
    started = client(ctx).pipelines.submit(checked(lambda: PipelineIn.model_validate(wanted)))
    if watch:
        _finish(follow_pipeline(client(ctx), started.id), as_json)
    elif as_json:
        print_json(started)
    else:
        err().print(f"Started. Follow it with `picofleet pipelines watch {started.id}`.")
        out().print(started.id)


@app.command("list")
def list_pipelines(ctx: typer.Context, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List pipelines, newest first."""

    def row(pipeline: PipelineOut) -> list[str]:
        state = coloured(pipeline.state)
        return [pipeline.id, escaped(pipeline.name), state, escaped(summary(pipeline)), age(pipeline.created_at)]

    show_list(client(ctx).pipelines.list(limit=limit), as_json, ["id", "name", "state", "steps", "age"], row, "No pipelines.")


@app.command("show")
def show(ctx: typer.Context, pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Show one pipeline and its steps."""
    found = client(ctx).pipelines.get(_pipeline_id(ctx, pipeline))
    if as_json:
        print_json(found)
    else:
        show_pipeline(found)


@app.command("watch")
def watch_pipeline(ctx: typer.Context, pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Follow a pipeline to its end. Ctrl-C stops following, not the pipeline. Exit code 1 unless it succeeds."""
    _finish(follow_pipeline(client(ctx), _pipeline_id(ctx, pipeline)), as_json)


@app.command("cancel")
def cancel(ctx: typer.Context, pipeline: PipelineArgument, as_json: JsonFlag = False) -> None:
    """Stop a pipeline: its running jobs are cancelled, the others never start."""
    _told(client(ctx).pipelines.cancel(_pipeline_id(ctx, pipeline)), as_json)


@app.command("retry")
def retry(
    ctx: typer.Context,
    pipeline: PipelineArgument,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Run this step and all that builds on it again.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Do not go on from the checkpoint of a job that failed.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run again what has not succeeded; steps that have are kept.

    picofleet pipelines retry last
    picofleet pipelines retry last --from distil
    """
    request = checked(lambda: RetryIn(from_step=from_step, from_checkpoint=not anew))
    _told(client(ctx).pipelines.retry(_pipeline_id(ctx, pipeline), request), as_json)


@app.command("templates")
def templates(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the templates; with --json also the schema of each one's parameters, with every default and range."""
    show_list(
        client(ctx).pipelines.templates(),
        as_json,
        ["template", "steps", "parameters", ""],
        lambda template: [
            escaped(template.name),
            " > ".join(step.name for step in template.steps),
            escaped(", ".join(_parameters(template.json_schema))),
            escaped(template.description),
        ],
        "No templates.",
    )


def _parameters(schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", []))
    return [f"{name} (needed)" if name in required else name for name in schema.get("properties", {})]


def _finish(pipeline: PipelineOut, as_json: bool) -> None:
    if as_json:
        print_json(pipeline)
    else:
        show_pipeline(pipeline)
    require_success(pipeline)


def _told(pipeline: PipelineOut, as_json: bool) -> None:
    if as_json:
        print_json(pipeline)
    else:
        err().print(f"{pipeline.id} is {pipeline.state.value}: {escaped(summary(pipeline))}.")


def _pipeline_id(ctx: typer.Context, text: str) -> str:
    if text != "last":
        return text
    newest = next(client(ctx).pipelines.list(limit=1), None)
    if newest is None:
        raise UsageError("There is no pipeline yet.")
    return newest.id
