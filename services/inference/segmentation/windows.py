"""Prompts to windows."""

import math

from shared.contracts.segmentation import Everything, Prompt
from shared.contracts.windows import WindowPolicy
from shared.kit.problems import InvalidRequest
from shared.picosam.prompt import Shape, Window, box_window, point_window, share_of_width


def window_of(prompt: Prompt, field: str, shape: Shape, policy: WindowPolicy) -> Window:
    """What to show the network of a prompt. Either kind works on models trained with the other one.

    InvalidRequest, naming the prompt by its ``field``, if it lies outside the image.
    """
    try:
        if prompt.box is not None:
            return box_window(prompt.box, shape, margin=policy.box_margin, border=policy.border)
        assert prompt.point is not None
        return _round_point(prompt.point, prompt.side, shape, policy)
    except ValueError as exc:
        kind = "point" if prompt.point else "box"
        height, width = shape
        hint = f"x in 0..{width}, y in 0..{height}, in pixels of the upright image"
        raise InvalidRequest.of_field(f"{field}.{kind}", str(exc), hint) from exc


def grid_prompts(everything: Everything, shape: Shape) -> list[Prompt]:
    """Points in the middles of the cells of a grid, row by row. The cells are as square as whole numbers allow."""
    height, width = shape
    longer = everything.points_per_side
    shorter = max(1, round(longer * min(shape) / max(shape)))
    columns, rows = (longer, shorter) if width >= height else (shorter, longer)
    points = [((c + 0.5) * width / columns, (r + 0.5) * height / rows) for r in range(rows) for c in range(columns)]
    return [Prompt(point=point, side=everything.side) for point in points]


def _round_point(point: tuple[float, float], side: int | None, shape: Shape, policy: WindowPolicy) -> Window:
    pixel = math.floor(point[0]), math.floor(point[1])
    return point_window(pixel, shape, side=side or policy.side or share_of_width(shape), border=policy.border)
