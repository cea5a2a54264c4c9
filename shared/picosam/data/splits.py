"""Which split an image belongs to."""

import hashlib

from shared.contracts.datasets import SplitRule


def split_of(rule: SplitRule, image_id: int) -> str:
    """The split of an image: a function of seed and image id alone, so adding images moves no other image.

    Splits are laid out in alphabetical order: JSON objects have no order that databases keep.
    """
    digest = hashlib.sha256(f"{rule.seed}:{image_id}".encode()).digest()
    position = int.from_bytes(digest[:8]) / 2**64
    names = sorted(rule.fractions)
    reached = 0.0
    for name in names:
        reached += rule.fractions[name]
        if position < reached:
            return name
    return names[-1]  # fractions may add up to a hair less than 1


def split_names(given: list[str], rule: SplitRule | None) -> list[str]:
    """All splits that come out of the ``given`` ones. ValueError if the rule does not fit them."""
    if rule is None:
        return given
    if rule.from_split not in given:
        raise ValueError(f"split_rule.from_split is {rule.from_split!r}, but the source has {', '.join(given)}")
    kept = [name for name in given if name != rule.from_split]
    if taken := sorted(set(kept) & set(rule.fractions)):
        raise ValueError(f"split_rule makes {', '.join(taken)}, which the source already has")
    return kept + sorted(rule.fractions)
