"""`picofleet jobs`."""

from typing import Annotated

import typer

from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    TagOption,
    UsageError,
    age,
    client,
    err,
    escaped,
    out,
    print_json,
    show_list,
)
from shared.client.cli.completion import complete_job
from shared.client.cli.job_view import coloured, finish, show_one, where
from shared.client.cli.submit import app as submit
from shared.client.cli.watch import follow
from shared.contracts.jobs import JobKind, JobOut, JobState

app = typer.Typer(no_args_is_help=True, help="Submit jobs, follow them, stop them.")
app.add_typer(submit, name="submit")

JobArgument = Annotated[str, typer.Argument(help="Id of the job, or `last` for the newest.", autocompletion=complete_job)]


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    state: Annotated[list[JobState] | None, typer.Option(help="Only these; may be repeated.")] = None,
    kind: Annotated[JobKind | None, typer.Option()] = None,
    tag: TagOption = None,
    parent: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this pipeline or sweep.")] = None,
    limit: LimitOption = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""

    def row(job: JobOut) -> list[str]:
        return [job.id, job.kind.value, escaped(job.name or ""), coloured(job.state), where(job), age(job.created_at)]

    found = client(ctx).jobs.list(states=state or (), kind=kind, tags=tag or (), parent=parent, limit=limit)
    show_list(found, as_json, ["id", "kind", "name", "state", "", "age"], row, "No jobs.")


@app.command("show")
def show_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Show one job."""
    found = client(ctx).jobs.get(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        show_one(found)


@app.command("watch")
def watch_job(
    ctx: typer.Context,
    job: JobArgument,
    logs: Annotated[bool, typer.Option(help="Show log lines too.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Follow a job to its end. Ctrl-C stops following, not the job. Exit code 1 unless it succeeds."""
    finish(follow(client(ctx), _job_id(ctx, job), logs=logs), as_json)


@app.command("logs")
def job_logs(ctx: typer.Context, job: JobArgument) -> None:
    """Print what a job has logged so far."""
    out().print(client(ctx).jobs.logs(_job_id(ctx, job)), markup=False, end="")


@app.command("cancel")
def cancel_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Stop a job; it keeps its last checkpoint."""
    found = client(ctx).jobs.cancel(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        err().print(f"{found.id} is {found.state.value}.")


@app.command("retry")
def retry_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    found = client(ctx).jobs.retry(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        err().print(f"{found.id} is {found.state.value}.")


@app.command("kinds")
def job_kinds(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the kinds of jobs; with --json also the schema of each, with every default and range."""
    kinds = client(ctx).jobs.kinds()
    show_list(
        kinds,
        as_json,
        ["kind", "submitted to", ""],
        lambda kind: [kind.kind.value, kind.submit or "", escaped(kind.description)],
        "No kinds.",
    )


def _job_id(ctx: typer.Context, text: str) -> str:
    if text != "last":
        return text
    newest = next(client(ctx).jobs.list(limit=1), None)
    if newest is None:
        raise UsageError("There is no job yet.")
    return newest.id
