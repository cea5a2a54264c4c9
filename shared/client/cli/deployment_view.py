"""Deployments as a person reads them."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from shared.client.cli.common import age, err, escaped, table
from shared.client.cli.segment_view import bar
from shared.client.sdk import PicofleetClient
from shared.contracts.deployments import (
    CpuTarget,
    DeploymentOut,
    DeploymentRollout,
    FleetTarget,
    ReplicaOut,
    ReplicaState,
    ResolvedPart,
    RevisionOut,
    ShadowReport,
)
from shared.contracts.rollouts import ActionState, RolloutState

_COLOURS: Final = {ReplicaState.READY: "green", ReplicaState.LOADING: "yellow", ReplicaState.FAILED: "red"}
_ROLLOUT_COLOURS: Final = {RolloutState.FINISHED: "green", RolloutState.ABORTED: "red", RolloutState.ROLLED_BACK: "red"}


def followed(client: PicofleetClient, made: DeploymentOut, wait_s: float) -> DeploymentOut:
    """The deployment once it is served, or its rollout has begun; says on the way what the replicas do, each thing once."""
    if made.rollout is not None:
        return client.deployments.wait_begun(made.name, wait_s=wait_s)
    told: set[str] = set()

    def tell(found: DeploymentOut) -> None:
        for replica in found.replicas:
            line = f"{replica.replica}: {replica.state} generation {replica.generation or '-'}"
            if line not in told:
                told.add(line)
                err().print(escaped(line))

    return client.deployments.wait_ready(made.name, wait_s=wait_s, on_poll=tell)


def parts_in_words(parts: Sequence[ResolvedPart]) -> str:
    """As ``picosam2/3 90 %, picosam2.int8/1 10 %``; one part alone without its 100 %."""
    if len(parts) == 1:
        return escaped(parts[0].model)
    return escaped(", ".join(f"{part.model} {part.percent} %" for part in parts))


def contents_in_words(found: DeploymentOut | RevisionOut) -> str:
    """What is in use: the parts, or the package and whose cameras have it."""
    if isinstance(found.spec, FleetTarget):
        return escaped(f"{found.spec.package} on {found.spec.target}")
    return parts_in_words(found.versions)


def state_of(found: DeploymentOut) -> str:
    """In one word."""
    if found.ready:
        return "[green]ready[/green]"
    if found.rollout is not None:
        return _state_of_rollout(found.rollout)
    if any(replica.state is ReplicaState.FAILED for replica in found.replicas):
        return "[red]failed[/red]"
    return "[yellow]loading[/yellow]" if found.replicas else "[yellow]no replica[/yellow]"


def show_deployment(found: DeploymentOut) -> Group:
    """All of it."""
    head = f"[bold]{escaped(found.name)}[/bold]  generation {found.generation}  {state_of(found)}"
    why = Text(f"{found.reason}, by {found.updated_by}, {age(found.updated_at)} ago", style="dim")
    rest = _on_fleet(found, found.spec) if isinstance(found.spec, FleetTarget) else _on_cpus(found, found.spec)
    return Group(Text.from_markup(head), why, *rest)


def _on_cpus(found: DeploymentOut, spec: CpuTarget) -> list[RenderableType]:
    settings = f"target {spec.target}, queue {spec.max_queue}, deadline {spec.deadline_ms} ms" + _extras(spec)
    shown: list[RenderableType] = [Text(settings, style="dim"), Text(), _traffic(found)]
    shown += [Text(), _replicas(found.replicas)]
    if found.shadow_report is not None:
        shown += [Text(), Text(_agreement(found.shadow_report))]
    return shown


def _on_fleet(found: DeploymentOut, spec: FleetTarget) -> list[RenderableType]:
    settings = f"target {spec.target}, package {spec.package}, {len(spec.phases)} phases, on failure: {spec.on_failure}"
    shown: list[RenderableType] = [Text(settings, style="dim"), Text()]
    return shown + (_rollout(found.rollout) if found.rollout is not None else [])


def _state_of_rollout(rollout: DeploymentRollout) -> str:
    if not rollout.begun:
        return "[yellow]waiting[/yellow]" if rollout.error is None else "[red]cannot begin[/red]"
    if rollout.state is None:
        return "[yellow]unknown[/yellow]"
    return f"[{_ROLLOUT_COLOURS.get(rollout.state, 'yellow')}]{rollout.state.value}[/]"


def _rollout(rollout: DeploymentRollout) -> list[RenderableType]:
    verb = "is rolled back" if rollout.returns else "carries it out"
    lines = [f"rollout {rollout.id} {verb}" if rollout.id else "no rollout yet", rollout.error or rollout.reason]
    shown: list[RenderableType] = [Text(line) for line in lines if line]
    if rollout.phases:
        rows = [
            [str(phase.number), phase.state.value, str(phase.cameras), counts_in_words(phase.counts)]
            for phase in rollout.phases
        ]
        shown += [Text(), table(["phase", "state", "cameras", "of these"], rows)]
    if any(rollout.restores.values()):
        shown.append(Text(f"returns: {counts_in_words(rollout.restores)}"))
    return shown


def counts_in_words(counts: Mapping[ActionState, int]) -> str:
    """As ``48 running, 2 failed``, in the order of the states; without what is none."""
    return ", ".join(f"{counts[state]} {state.value}" for state in ActionState if counts.get(state))


def _extras(spec: CpuTarget) -> str:
    extras = {
        "follows its aliases": spec.follow_aliases,
        f"{spec.parallel} at the same time": spec.parallel,
        f"{spec.threads} threads each": spec.threads,
        f"batches of {spec.batching.max_batch}": spec.batching.max_batch > 1,
        "keeps corrections": spec.feedback.enabled,
    }
    return "".join(f", {words}" for words, holds in extras.items() if holds)


def _traffic(found: DeploymentOut) -> RenderableType:
    rows = [_part(part, f"{bar(part.percent / 100, 20)} {part.percent} %") for part in found.versions]
    if found.shadow is not None:
        rows.append(_part(found.shadow, f"shadow of {found.shadow.percent} %"))
    return table(["version", "asked for", "traffic", "engine"], rows)


def _part(part: ResolvedPart, traffic: str) -> list[str]:
    asked = "" if part.asked == part.model else escaped(part.asked)
    return [escaped(part.model), asked, traffic, part.engine.value]


def _replicas(replicas: Sequence[ReplicaOut]) -> RenderableType:
    if not replicas:
        return Text("No replica of the inference service has reported yet.")
    rows = [
        [
            escaped(replica.replica),
            f"[{_COLOURS[replica.state]}]{replica.state.value}[/]",
            str(replica.generation or ""),
            age(replica.seen_at),
            escaped(replica.error or ""),
        ]
        for replica in replicas
    ]
    return table(["replica", "state", "serves", "seen", "error"], rows)


def _agreement(report: ShadowReport) -> str:
    words = f"shadow {report.model}: {report.compared} compared, {report.skipped} skipped, {report.failed} failed"
    if report.mask_iou is not None:
        words += f"; mean IoU of masks {report.mask_iou:.3f}"
    if report.agreeing is not None:
        words += f", {report.agreeing:.1%} agree (IoU 0.9 or more)"
    return words
