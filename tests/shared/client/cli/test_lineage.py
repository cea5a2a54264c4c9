"""The tree of a distilled model's lineage."""

import io
from typing import Any

from rich.console import Console

from shared.client.cli.lineage import lineage_tree
from shared.contracts.base import digest_of
from shared.contracts.models import LineageEdge, LineageNode, LineageOut


def a_node(id_: str, label: str, **more: Any) -> LineageNode:
    return LineageNode.model_validate({"id": id_, "kind": id_.partition(":")[0], "label": label, "distance": 0} | more)


def an_edge(source: str, target: str, role: str, split: str | None = None) -> LineageEdge:
    return LineageEdge(source=source, target=target, role=role, split=split)


def shown(lineage: LineageOut) -> list[str]:
    written = io.StringIO()
    Console(file=written, width=300).print(lineage_tree(lineage))
    return written.getvalue().splitlines()


def a_lineage() -> LineageOut:
    """train -> p/1; p/1 teaches p/2 on the same data; an evaluation looked at both."""
    nodes = [
        a_node("version:p/2", "p/2", figures={"miou_96": 0.4321}),
        a_node("job:2", "better [x]", job_kind="distillation", job_state="succeeded"),
        a_node("version:p/1", "p/1"),
        a_node("dataset:d", "coco2017", digest=digest_of(b"d"), gone=True),
        a_node("job:1", "training", job_kind="training", job_state="succeeded"),
        a_node("job:3", "evaluation", job_kind="evaluation", job_state="succeeded"),
    ]
    edges = [
        an_edge("job:2", "version:p/2", "model"),
        an_edge("version:p/1", "job:2", "teacher"),
        an_edge("dataset:d", "job:2", "train", "train"),
        an_edge("dataset:d", "job:2", "validation", "val"),
        an_edge("dataset:d", "job:1", "train", "train"),
        an_edge("job:1", "version:p/1", "model"),
        an_edge("version:p/2", "job:3", "models.0"),
    ]
    return LineageOut(root="version:p/2", nodes=nodes, edges=edges)


def test_the_tree_leads_to_the_data_and_to_what_came_of_it() -> None:
    lines = shown(a_lineage())
    assert lines[0] == "p/2  miou_96 0.432"
    dataset = f"coco2017  {digest_of(b'd')[:19]}  deleted since"
    assert [line.lstrip("│├└─ ") for line in lines[1:]] == [
        "made from",
        "distillation better [x]  2",
        "p/1  teacher",
        "training  1",
        f"{dataset}  train (train)",
        f"{dataset}  train (train), validation (val)",
        "used by",
        "evaluation  3  models.0",
    ]


def test_what_stands_there_twice_is_followed_once() -> None:
    lineage = a_lineage()
    lineage.edges.append(an_edge("version:p/1", "job:2", "initial_model"))
    lineage.edges.append(an_edge("version:p/1", "job:1", "initial_model"))  # cannot be; must not hang either
    lines = shown(lineage)
    assert sum("teacher, initial_model" in line for line in lines) == 1
    assert sum("followed elsewhere" in line for line in lines) == 1


def test_a_version_without_a_past_or_a_future_says_so() -> None:
    text = "\n".join(shown(LineageOut(root="version:p/1", nodes=[a_node("version:p/1", "p/1")], edges=[], truncated=True)))
    assert "made elsewhere" in text
    assert "used by nothing yet" in text
    assert "more than can be shown" in text


def test_a_past_of_any_length_is_shown() -> None:
    nodes = [a_node(f"version:p/{number}", f"p/{number}") for number in range(3000)]
    edges = [an_edge(f"version:p/{number + 1}", f"version:p/{number}", "x") for number in range(2999)]
    assert lineage_tree(LineageOut(root="version:p/0", nodes=nodes, edges=edges)).children
