"""The table of an evaluation's figures."""

import io
from typing import Any

from rich.console import Console

from shared.client.cli.evaluation_view import differences, figures_table

FIRST = {
    "mask_ap": 0.2,
    "mask_ap_50": 0.3,
    "mask_ap_small": 0.1,
    "hit_rate_50_95": 0.25,
    "hit_rate_50_95_shrink": 0.25,
    "hit_rate_50_95_box_pad": 0.35,
    "miou_96_shrink": 0.42,
    "miou_96": 0.43215,
    "miou_96_pad_small": 0.2,
    "miou_96_jitter_10": 0.4,
    "miou_96_unclipped": 0.5,
}


def a_result() -> dict[str, Any]:
    difference = {
        "figure": "miou_96",
        "mean": -0.0123,
        "low": -0.02,
        "high": -0.001,
        "p_value": 0.012,
        "images": 117,
        "prompts": 9,
    }
    pair = {"model": "p/1 (torch)", "against": "p/2 (onnx)"}
    return {
        "models": [
            {"model": "p/2", "runtime": "onnx", "figures": FIRST},
            {"model": "p/1", "runtime": "torch", "figures": {"miou_96": 0.4}},
        ],
        "baselines": {"ellipse": {"hit_rate_50_95_box_pad": 0.368}},
        "comparisons": [pair | difference, pair | difference | {"figure": "miou_96_shrink"}],
    }


def shown(result: dict[str, Any], **more: Any) -> list[list[str]]:
    written = io.StringIO()
    Console(file=written, width=200).print(figures_table(result, **more))
    return [line.split() for line in written.getvalue().splitlines()]


def test_models_and_baselines_stand_side_by_side_and_what_matters_comes_first() -> None:
    assert shown(a_result(), headings={"p/2": "(distilled)"}) == [
        ["p/2", "(distilled)", "p/1", "torch", "ellipse"],
        ["miou_96", "0.4321", "0.4000"],
        ["miou_96_shrink", "0.4200"],
        ["miou_96_unclipped", "0.5000"],
        ["hit_rate_50_95", "0.2500"],
        ["hit_rate_50_95_box_pad", "0.3500", "0.3680"],
        ["mask_ap", "0.2000"],
    ]


def test_a_difference_is_told_with_its_interval() -> None:
    assert differences(a_result()) == [
        "p/1 (torch) against p/2 (onnx): miou_96 -0.0123 (-0.0200 to -0.0010, p 0.012, 117 images)"
    ]


def test_results_of_another_release_are_no_reason_to_fail() -> None:
    for result in ({}, {"models": "x", "comparisons": [1, {}], "baselines": []}, {"models": [{"figures": None}, 3]}):
        assert figures_table(result) is None
        assert differences(result) == []
