"""Asks Optuna for the next trial. Its study is built anew from the stored trials each time: there is no second memory.

The same past gives the same proposal; with several trials at a time the past depends on which of them ends first.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.contracts.pipelines import Choices, Objective, OptunaSearch, Range, TrialState

if TYPE_CHECKING:  # importing it takes about a second, so only a sweep that asks it does
    from optuna import Study
    from optuna.distributions import BaseDistribution


class Past(NamedTuple):
    """An earlier trial."""

    chosen: dict[str, Any]
    state: TrialState
    figure: float | None


def propose(search: OptunaSearch, objective: Objective, past: Sequence[Past]) -> dict[str, Any]:
    """Values by field for the trial that comes after ``past``."""
    distributions = {name: _distribution(field) for name, field in sorted(search.fields.items())}
    study = _study(search, objective, seed=_seed(search.seed, len(past)))
    for trial in past:
        _tell(study, search, distributions, trial)
    asked = study.ask(fixed_distributions=distributions).params
    return {name: _meant(search.fields[name], value) for name, value in asked.items()}


def _seed(seed: int, number: int) -> int:
    # A sampler that begins anew with the same seed would draw the same values for each trial.
    return (seed * 1_000_003 + number) % 2**32


def _study(search: OptunaSearch, objective: Objective, *, seed: int) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search.sampler == "random":
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        # Trials that still run count as bad ones, so that a second proposal is not the first one's twin.
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.create_study(sampler=sampler, direction=objective.direction)


def _tell(study: "Study", search: OptunaSearch, distributions: "dict[str, BaseDistribution]", trial: Past) -> None:
    from optuna.trial import TrialState as Told
    from optuna.trial import create_trial

    states = {TrialState.SUCCEEDED: Told.COMPLETE, TrialState.RUNNING: Told.RUNNING}
    state = states.get(trial.state, Told.FAIL)
    params = {name: _told(search.fields[name], trial.chosen[name]) for name in distributions}
    value = trial.figure if state is Told.COMPLETE else None
    study.add_trial(create_trial(state=state, params=params, distributions=distributions, value=value))


def _distribution(field: Range | Choices) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(field, Choices):
        # By number: Optuna takes no lists and objects, and 1, 1.0 and true are one to it.
        return CategoricalDistribution(tuple(range(len(field.choices))))
    if field.whole:
        step = int(field.step or 1)
        low, high = int(field.low), int(field.high)
        return IntDistribution(low, high - (high - low) % step, log=field.log, step=step)
    return FloatDistribution(field.low, _reached(field), log=field.log, step=field.step)


def _reached(field: Range) -> float:
    """The last number that whole steps lead to."""
    if field.step is None:
        return field.high
    low, high, step = (Decimal(str(number)) for number in (field.low, field.high, field.step))
    return float(high - (high - low) % step)


def _told(field: Range | Choices, value: Any) -> Any:
    if isinstance(field, Choices):
        # Not `index`, for which 1 and true are the same.
        return next(at for at, choice in enumerate(field.choices) if choice == value and type(choice) is type(value))
    return value


def _meant(field: Range | Choices, value: Any) -> Any:
    return field.choices[value] if isinstance(field, Choices) else value
