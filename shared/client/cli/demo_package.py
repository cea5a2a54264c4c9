"""How the demo ends with a package: Sony's converter, installed where somebody agrees to its licence, and what it made."""

import sys
from pathlib import Path

import typer
from rich.console import Console

from shared.client.cli import package, toolchain
from shared.client.cli.common import escaped
from shared.client.cli.packaging import package_of
from shared.client.sdk import PicofleetClient
from shared.contracts.pipelines import StepOut
from shared.kit.toolchain.errors import ToolchainError
from shared.kit.toolchain.install import install
from shared.kit.toolchain.place import Place, State
from shared.kit.toolchain.settings import ToolchainSettings

_LATER = "The demo goes on without a package. Later: `picofleet toolchain install`, then `picofleet package create`."


def converter_is_there(home: Path, console: Console, *, accepted: bool) -> bool:
    """Whether the demo can package. Installs the converter if need be, after the licence notice and somebody's consent: given
    by ``accepted``, else asked for on a terminal. Says what to do where it cannot.
    """
    place = Place.of(ToolchainSettings(home=home))
    if place.status().state is State.READY:
        return True
    if not accepted and not sys.stdin.isatty():
        console.print(
            "[yellow]No package: Sony's converter is not installed, and its licence wants somebody's consent. Add "
            "--accept-licence (make demo DEMO_ARGS=--accept-licence), or run `picofleet toolchain install` first.[/yellow]"
        )
        return False
    try:
        toolchain.agree(place.pins.version, accepted)
        with toolchain.progress(quiet=False) as report:
            install(place, licence_accepted=True, report=report)
    except typer.Abort:
        console.print(f"[yellow]Not agreed, so nothing is installed. {_LATER}[/yellow]")
        return False
    except ToolchainError as exc:  # as without a network
        console.print(f"[yellow]Sony's converter could not be installed: {escaped(exc.message)}[/yellow]")
        console.print(f"[yellow]{escaped(exc.hint)} {_LATER}[/yellow]")
        return False
    return True


def keep_package(client: PicofleetClient, console: Console, step: StepOut, folder: Path) -> str:
    """Save what the step made in ``folder`` and verify it as a camera would; the words for the demo's last line."""
    from shared.kit.packages.verifying import verify

    found = package_of(client, f"{step.result['line']}/{step.result['release']}")
    target = client.packages.download(found, folder / f"{found.line}-{found.release}.tar")
    with package.told():
        verified = verify(target, client.packages.keys())
    console.print(f"  {'package':<23}{escaped(str(target))}, verified with key {verified.key_id}", soft_wrap=True)
    memory = verified.manifest.memory
    return f"package {found.line}/{found.release} {found.size_bytes / 1e6:.2f} MB fits {memory.utilization:.0%}"
