"""`picofleet cameras simulate`: many cameras in one process, over the device API that real ones speak."""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from shared.client.cli.camera_view import labels_in_words
from shared.client.cli.common import JsonFlag, UsageError, checked, client, err, escaped, pairs
from shared.client.cli.completion import complete_fleet_package, complete_rollout
from shared.client.cli.durations import seconds
from shared.client.errors import ClientError, NotReachable, Unusable
from shared.client.sdk import PicofleetClient
from shared.contracts.cameras import ProvisioningTokenIn

if TYPE_CHECKING:
    from shared.client.simulator.simulation import Simulation

LONGEST_TOKEN_FILE: Final = 64 << 20
LOOK_S: Final = 1.0
"""How often the counts are shown, and the rollout is looked at that is waited for."""
_TOKEN_LASTS: Final = timedelta(days=1)
Misfortune, Access, Pace = "Misfortune", "How they are let in", "Pace"


def _share(help_: str) -> Any:
    return typer.Option(min=0, max=1, metavar="SHARE", help=help_, rich_help_panel=Misfortune)


def simulate(
    ctx: typer.Context,
    number: Annotated[int, typer.Argument(metavar="N", min=1, max=1_000_000, help="So many.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "--labels", metavar="KEY=VALUE", help="May be repeated.")
    ] = None,
    failure_rate: Annotated[float, _share("Of installations: they fail the self test.")] = 0.0,
    fail_package: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE/RELEASE",
            help="It always fails the self test.",
            rich_help_panel=Misfortune,
            autocompletion=complete_fleet_package,
        ),
    ] = None,
    sick_package: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE/RELEASE",
            help="It installs well, and then loses frames.",
            rich_help_panel=Misfortune,
            autocompletion=complete_fleet_package,
        ),
    ] = None,
    offline: Annotated[float, _share("Of cameras: they poll only every 20th time.")] = 0.0,
    misbehave: Annotated[float, _share("Of cameras: they also say things twice, too early, about others, and garbage.")] = 0.0,
    poll: Annotated[
        str | None, typer.Option(metavar="TIME", help="Default: as the service asks.", rich_help_panel=Pace)
    ] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="Of their clocks.", rich_help_panel=Pace)] = 1.0,
    telemetry: Annotated[
        str, typer.Option(metavar="TIME", help="Each camera sends it so often; 0: never.", rich_help_panel=Pace)
    ] = "60s",
    samples: Annotated[
        str | None, typer.Option(metavar="TIME", help="Windows and masks so often; default: never.", rich_help_panel=Pace)
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download/--no-download", help="All bytes for each camera, or for the first alone.", rich_help_panel=Pace
        ),
    ] = True,
    connections: Annotated[int, typer.Option(min=1, max=10_000, help="At the same time.", rich_help_panel=Pace)] = 64,
    provisioning_token: Annotated[
        str | None,
        typer.Option(envvar="PICOFLEET_PROVISIONING_TOKEN", help="Default: one for this run alone.", rich_help_panel=Access),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Of cameras that are registered: JSON of names and their tokens.",
            rich_help_panel=Access,
        ),
    ] = None,
    enrol: Annotated[
        bool, typer.Option("--enrol", help="Each asks for a token of its own first.", rich_help_panel=Access)
    ] = False,
    controller_prefix: Annotated[
        str | None, typer.Option(help="Of their names; default: a new one each time.", rich_help_panel=Access)
    ] = None,
    until: Annotated[str | None, typer.Option("--seconds", metavar="TIME", help="End after so long.")] = None,
    until_rollout: Annotated[
        str | None, typer.Option(metavar="ROLLOUT", help="End when it is over.", autocompletion=complete_rollout)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed has the same misfortune.")] = 0,
    keys: Annotated[
        Path | None,
        typer.Option(
            envvar="PICOFLEET_PACKAGE_KEYS",
            exists=True,
            dir_okay=False,
            help="Whose packages they install; default: the platform's.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Simulate cameras: they poll, download, verify, install, fail and return as real ones do. Ctrl-C ends it.

    picofleet cameras simulate 50 --label site=berlin --poll 2s
    picofleet cameras simulate 10000 --no-download --failure-rate 0.02 --offline 0.1 --until-rollout last
    """
    from shared.client.simulator.behaviour import Behaviour

    behaviour = Behaviour(
        failure_rate=failure_rate,
        broken=frozenset(fail_package or ()),
        sick=frozenset(sick_package or ()),
        offline=offline,
        misbehave=misbehave,
        poll_s=None if poll is None else seconds(poll, "--poll"),
        speed=speed,
        telemetry_s=seconds(telemetry, "--telemetry") or None,
        samples_s=None if samples is None else seconds(samples, "--samples"),
        download=download,
        enrol=enrol,
        seed=seed,
    )
    opened = client(ctx)
    end = _end(opened, None if until is None else seconds(until, "--seconds"), until_rollout)
    trusted = _trusted(opened, keys)
    with _let_in(opened, number, label or [], provisioning_token, token_file, controller_prefix) as access:
        from shared.client.simulator.simulation import Simulation

        given = {"trusted": trusted, "behaviour": behaviour, "connections": connections}
        simulation = Simulation(opened.fleet.url, access[0], provisioning=access[1], **given)
        _watch(simulation, end)
    _show_end(simulation, as_json)


def _watch(simulation: "Simulation", is_over: Callable[[], bool]) -> None:
    from shared.client.cli.simulation_view import view

    try:
        with simulation, view() as shown:
            while not is_over() and simulation.is_alive:
                time.sleep(LOOK_S)
                shown.update(simulation)
    except KeyboardInterrupt:
        err().print("Ended.")


def _show_end(simulation: "Simulation", as_json: bool) -> None:
    from shared.client.cli.simulation_view import show_json, show_simulation

    (show_json if as_json else show_simulation)(simulation)


def _end(opened: PicofleetClient, length_s: float | None, rollout: str | None) -> Callable[[], bool]:
    """Whether it is time to end. A rollout that cannot be found is refused before anything is started."""
    rollouts = opened.fleet.rollouts
    wanted = None if rollout is None else rollouts.named(rollout) if rollout != "last" else next(rollouts.list(limit=1), None)
    if rollout is not None and wanted is None:
        raise UsageError("There is no rollout yet.", hint="Start the cameras first, without --until-rollout.")
    ends_at = None if length_s is None else time.monotonic() + length_s

    def is_over() -> bool:
        if ends_at is not None and time.monotonic() >= ends_at:
            return True
        try:
            return wanted is not None and rollouts.get(wanted.id).state.is_final
        except NotReachable:
            return False  # the cameras go on asking as well

    return is_over


@contextmanager
def _let_in(
    opened: PicofleetClient, number: int, labels: list[str], token: str | None, tokens: Path | None, prefix: str | None
) -> Iterator[tuple[dict[str, str | None], str | None]]:
    """The cameras' names with their tokens, and a token for all. One that was made for this run is revoked at its end."""
    from shared.client.simulator.simulation import named

    if tokens is not None:
        if token is not None or labels:
            raise UsageError("--token-file names cameras that are known already.", hint="Leave --label and the token out.")
        yield _tokens(tokens, number), None
        return
    if token is not None:
        if labels:
            raise UsageError("Labels come with the provisioning token.", hint="Leave --label out, or the token.")
        yield named(prefix or "sim-", number), token
        return
    run = secrets.token_hex(3)
    fields: dict[str, Any] = {"name": f"simulator-{run}", "labels": pairs(labels, "--label"), "max_cameras": number}
    expires = datetime.now(UTC) + _TOKEN_LASTS
    body = checked(lambda: ProvisioningTokenIn.model_validate(fields | {"expires_at": expires}), "Labels: site=berlin.")
    made = opened.fleet.provisioning_tokens.create(body)
    names = named(prefix or f"sim-{run}-", number)
    words = f" with {labels_in_words(made.labels)}" if made.labels else ""
    err().print(escaped(f"{number} cameras, from {next(iter(names))} on{words}. Ctrl-C ends them."))
    try:
        yield names, made.token
    finally:
        try:
            opened.fleet.provisioning_tokens.revoke(made.id)
        except ClientError as exc:
            err().print(
                escaped(f"Their token could not be revoked, and is good until {expires:%Y-%m-%d %H:%M} UTC: {exc.message}")
            )


def _tokens(path: Path, number: int) -> dict[str, str | None]:
    if path.stat().st_size > LONGEST_TOKEN_FILE:
        raise Unusable(f"{path} is too long.")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise Unusable(f"{path} is no JSON: {exc}") from exc
    if not isinstance(found, dict) or not all(isinstance(token, str) and token for token in found.values()):
        raise Unusable(f"{path} holds no names with tokens.", hint='As {"cam-001": "its token"}.')
    if len(found) < number:
        raise UsageError(f"{path} has {len(found)} cameras, not {number}.", hint="Ask for fewer, or register more.")
    return dict(list(found.items())[:number])


def _trusted(opened: PicofleetClient, keys: Path | None) -> Any:
    if keys is None:
        return opened.packages.keys()
    from shared.client.cli.package import told
    from shared.kit.packages.keys import read_trusted

    with told():
        return read_trusted(keys)
