"""Types of modules and sets: those that hawkBit has from the start. Pure."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleType:
    """What a module is."""

    id: int
    key: str
    name: str
    most: int
    """Of this type in one set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetType:
    """What a set is, and the types of module that it may have; ``needed`` are those that it must have."""

    id: int
    key: str
    name: str
    needed: frozenset[str]
    allowed: frozenset[str]


MODULE_TYPES: Final = (
    ModuleType(id=1, key="os", name="OS", most=1),
    ModuleType(id=2, key="runtime", name="Runtime", most=1),
    ModuleType(id=3, key="application", name="Application", most=2**31 - 1),
)
SET_TYPES: Final = (
    SetType(id=1, key="os", name="OS only", needed=frozenset({"os"}), allowed=frozenset({"os"})),
    SetType(
        id=2,
        key="os_app",
        name="OS with app(s)",
        needed=frozenset({"os"}),
        allowed=frozenset({"os", "runtime", "application"}),
    ),
    SetType(
        id=3,
        key="app",
        name="App(s) only",
        needed=frozenset({"application"}),
        allowed=frozenset({"runtime", "application"}),
    ),
)


def module_type(key: str) -> ModuleType | None:
    """By its key."""
    return next((each for each in MODULE_TYPES if each.key == key), None)


def set_type(key: str) -> SetType | None:
    """By its key."""
    return next((each for each in SET_TYPES if each.key == key), None)


def unfit(kind: SetType, modules: list[str]) -> str | None:
    """What is wrong with a set of this type with modules of these; None if nothing is."""
    for key in modules:
        if key not in kind.allowed:
            return f"a set of type {kind.key} has no modules of type {key}"
        found = module_type(key)
        if found is not None and modules.count(key) > found.most:
            return f"a set has {found.most} module of type {key}, not {modules.count(key)}"
    missing = kind.needed.difference(modules)
    return f"a set of type {kind.key} needs a module of type {min(missing)}" if missing else None
