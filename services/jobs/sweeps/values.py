"""Values of a sweep's fields: every combination of a grid, and a spec with values put in. Pure."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from shared.contracts.pipelines import Choices, GridSearch, OptunaSearch


class NoSuchPlace(ValueError):
    """The spec has no place for a value."""


def total(search: GridSearch | OptunaSearch) -> int:
    """Trials of the whole search."""
    return search.trials if isinstance(search, OptunaSearch) else math.prod(len(values) for values in search.fields.values())


def combination(search: GridSearch, number: int) -> dict[str, Any]:
    """The values of one trial: the last field by name changes fastest. A stored grid may have lost its fields' order."""
    chosen: dict[str, Any] = {}
    for name in sorted(search.fields, reverse=True):
        values = search.fields[name]
        number, at = divmod(number, len(values))
        chosen[name] = values[at]
    return dict(sorted(chosen.items()))


def extremes(search: GridSearch | OptunaSearch) -> Iterator[dict[str, Any]]:
    """Enough combinations to have each value of each field once; of a range its ends. The first has each field's first."""
    by_field = {name: _values(field) for name, field in search.fields.items()}
    first = {name: values[0] for name, values in by_field.items()}
    yield first
    for name, values in by_field.items():
        for value in values[1:]:
            yield first | {name: value}


def _values(field: Any) -> list[Any]:
    if isinstance(field, list):
        return field
    return field.choices if isinstance(field, Choices) else [field.low, field.high]


def put_in(spec: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``spec`` with ``chosen`` in its fields. NoSuchPlace if a path leads through something else."""
    document: Any = dict(spec)
    for name, value in chosen.items():
        document = _put(document, name.split("."), value, name)
    return dict(document)


def _put(inside: Any, parts: list[str], value: Any, name: str) -> Any:
    if not parts:
        return value
    first, rest = parts[0], parts[1:]
    if isinstance(inside, list):
        if not (first.isdigit() and int(first) < len(inside)):
            raise NoSuchPlace(f"{name!r} leads into a list of {len(inside)}, which has no {first!r}")
        at = int(first)
        return [*inside[:at], _put(inside[at], rest, value, name), *inside[at + 1 :]]
    if inside is None or isinstance(inside, dict):
        # What the spec leaves to its defaults is made on the way.
        return {**(inside or {}), first: _put((inside or {}).get(first), rest, value, name)}
    raise NoSuchPlace(f"{name!r} leads into {inside!r}, which has no fields")
