"""A model version's lineage as a tree: what it was made from, and what was made from it."""

from collections import defaultdict
from collections.abc import Sequence

from rich.tree import Tree

from shared.client.cli.common import escaped
from shared.contracts.models import LineageEdge, LineageKind, LineageNode, LineageOut

_FIGURES = ("miou_96", "miou_96_pad")
_DIGITS = 19  # sha256: and twelve hex digits


def lineage_tree(lineage: LineageOut) -> Tree:
    """The version with two branches. A thing that would stand there twice is followed once."""
    nodes = {node.id: node for node in lineage.nodes}
    into, out_of = defaultdict[str, list[LineageEdge]](list), defaultdict[str, list[LineageEdge]](list)
    for edge in lineage.edges:
        into[edge.target].append(edge)
        out_of[edge.source].append(edge)
    root = Tree(_name(nodes[lineage.root]))
    past = root.add("[bold]made from[/bold]" if into[lineage.root] else "[dim]made elsewhere[/dim]")
    _grow(past, lineage.root, nodes, into, upwards=True)
    future = root.add("[bold]used by[/bold]" if out_of[lineage.root] else "[dim]used by nothing yet[/dim]")
    _grow(future, lineage.root, nodes, out_of, upwards=False)
    if lineage.truncated:
        root.add("[yellow]... and more than can be shown[/yellow]")
    return root


def _grow(
    place: Tree, start: str, nodes: dict[str, LineageNode], edges: dict[str, list[LineageEdge]], *, upwards: bool
) -> None:
    """Hang all that leads up to ``start``, or away from it, below ``place``. A stack: a past may be of any length."""
    seen, waiting = {start}, [(place, start)]
    while waiting:
        branch, here = waiting.pop()
        for other, group in _grouped(edges[here], upwards=upwards).items():
            if other not in nodes:
                continue
            text = _line(nodes[other], group)
            if other in seen:
                branch.add(f"{text} [dim](followed elsewhere)[/dim]" if edges[other] else text)
                continue
            seen.add(other)
            waiting.append((branch.add(text), other))


def _grouped(edges: Sequence[LineageEdge], *, upwards: bool) -> dict[str, list[LineageEdge]]:
    """Edges by the thing at their other end: two splits of a dataset are one line."""
    found = defaultdict[str, list[LineageEdge]](list)
    for edge in edges:
        found[edge.source if upwards else edge.target].append(edge)
    return found


def _line(node: LineageNode, edges: Sequence[LineageEdge]) -> str:
    # A job is told by its kind, and its output's name says nothing to people; what goes into a job has a role there.
    roles = [f"{edge.role} ({edge.split})" if edge.split else edge.role for edge in edges if _is_input(edge)]
    return _name(node) + (f"  [dim]{escaped(', '.join(roles))}[/dim]" if roles else "")


def _is_input(edge: LineageEdge) -> bool:
    return edge.target.startswith(f"{LineageKind.JOB.value}:")


def _name(node: LineageNode) -> str:
    parts = [f"[cyan]{escaped(node.label)}[/cyan]" if node.kind is LineageKind.VERSION else escaped(node.label)]
    if node.kind is LineageKind.JOB:
        kind = node.job_kind.value if node.job_kind else "job"
        parts = [kind if node.label == kind else f"{kind} {parts[0]}", node.id.partition(":")[2]]
    if node.digest:
        parts.append(node.digest[:_DIGITS])
    parts += [f"{key} {node.figures[key]:.3f}" for key in _FIGURES if key in node.figures]
    if node.gone:
        parts.append("[yellow]deleted since[/yellow]")
    return "  ".join(parts)
