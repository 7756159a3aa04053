"""Evolution on the surrogate: candidates under limits that are predicted to be accurate at first and a month later."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwloop.errors import BadInputError
from hwloop.search.settings import SearchSettings
from hwloop.search.space import Genome, Space
from hwloop.search.surrogate import Surrogate
from hwloop.search.trials import Footprint, Trial, finalists, front

if TYPE_CHECKING:
    import optuna

Measure = Callable[[Genome], Footprint | None]
"""What a network would take; None where that is beyond the limits."""


@dataclass(frozen=True)
class Attempts:
    """How often genomes are drawn for networks that are within the limits."""

    least: int = 300
    """Whatever is wanted."""
    each: int = 100
    """For each network that is wanted."""


ATTEMPTS = Attempts()
"""Of all searches."""


def drawn(space: Space, fits: Measure, known: set[Genome], count: int, rng: np.random.Generator) -> list[Genome]:
    """Draw genomes of networks that are within the limits and not yet known.

    Raises BadInputError where hardly any network of the space is.
    """
    found: list[Genome] = []
    for _ in range(ATTEMPTS.least + ATTEMPTS.each * count):
        genome = space.draw(rng)
        if genome not in known and genome not in found and fits(genome) is not None:
            found.append(genome)
            if len(found) == count:
                return found
    raise BadInputError(
        f"of all networks that were drawn {len(found) + len(known)} are within the limits, fewer than the budget; give "
        "wider limits, a smaller budget, or another space"
    )


def proposed(
    space: Space, fits: Measure, trials: Sequence[Trial], settings: SearchSettings, count: int, round_: int
) -> list[Genome]:
    """Propose genomes to evaluate next.

    NSGA-II (Deb et al., IEEE Trans. Evol. Comput. 6, 182, 2002, by optuna) evolves candidates on the surrogate from the
    front that is known. Of all candidates that it came upon, those are taken that are on fronts of the prediction, from
    end to end, as far as they are new; what is missing is drawn. What they are predicted for is accuracy after
    programming and after a month: a network that loses nothing because it has nothing to lose is of no use.

    Parameters
    ----------
    space, fits
        What may be proposed.
    trials
        What was evaluated so far.
    settings
        How.
    count
        Genomes that are wanted.
    round_
        Which batch this is: it has random numbers of its own.

    Raises
    ------
    BadInputError
        Without optuna, which the extra hwloop[search] brings.
    """
    rng = np.random.default_rng([settings.seed, round_])
    surrogate = _surrogate(space, fits, trials)
    seen: dict[Genome, tuple[float, float]] = {}

    def value(genome: Genome, takes: Footprint) -> tuple[float, float]:
        if genome not in seen:
            told = surrogate.predict([genome], [takes])
            (first, unsure), (later, unsure_later) = told["accuracy"], told["month"]
            hope = settings.bold
            seen[genome] = (float(first[0] + hope * unsure[0]), float(later[0] + hope * unsure_later[0]))
        return seen[genome]

    begin = dict.fromkeys([*finalists(trials, count), *front(trials)])
    _evolve(space, fits, value, [trials[number].genome for number in begin], settings, round_)
    known = {one.genome for one in trials}
    fresh = {genome: values for genome, values in seen.items() if genome not in known}
    chosen: list[Genome] = []
    while fresh and len(chosen) < count:
        best = _front_of(fresh)
        order = np.unique(np.linspace(0, len(best) - 1, min(count - len(chosen), len(best))).round().astype(int))
        chosen += [best[number] for number in order]
        for genome in best:
            del fresh[genome]
    missing = count - len(chosen)
    return chosen + (drawn(space, fits, known | set(chosen), missing, rng) if missing else [])


def promising(space: Space, fits: Measure, trials: Sequence[Trial], settings: SearchSettings) -> list[int]:
    """Find the networks to train again: those that are expected to be the most accurate after a month.

    What a network reached is one training on few twins; the surrogate, which was fitted to it among all others, knows
    what networks like it reach, too. A random search goes by what was measured alone.
    """
    if settings.strategy == "random":
        return finalists(trials, settings.finalists)
    takes = [fits(one.genome) or one.footprint for one in trials]
    expected, _ = _surrogate(space, fits, trials).predict([one.genome for one in trials], takes)["month"]
    order = sorted(range(len(trials)), key=lambda one: (-expected[one], trials[one].footprint.weights, one))
    return order[: settings.finalists]


def _surrogate(space: Space, fits: Measure, trials: Sequence[Trial]) -> Surrogate:
    """Fit the surrogate; what networks take is found anew, because files do not keep all of it."""
    return Surrogate(space, trials, [fits(one.genome) or one.footprint for one in trials])


def _evolve(
    space: Space,
    fits: Measure,
    value: Callable[[Genome, Footprint], tuple[float, float]],
    begin: Sequence[Genome],
    settings: SearchSettings,
    round_: int,
) -> None:
    """Let candidates evolve; `value` hears of each that is within the limits."""
    check_library()
    import optuna

    told = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every trial
    sampler = optuna.samplers.NSGAIISampler(population_size=settings.population, seed=settings.seed * 1000 + round_)
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    for genome in begin:
        study.enqueue_trial(dict(zip(space.genes, genome, strict=True)))

    def evaluate(trial: optuna.Trial) -> tuple[float, float]:
        drawn = (int(trial.suggest_categorical(name, list(choices))) for name, choices in space.genes.items())
        genome = space.one_of_its_kind(tuple(drawn))
        takes = fits(genome)
        trial.set_constraint("limits", 1.0 if takes is None else -1.0)
        return (0.0, 0.0) if takes is None else value(genome, takes)

    try:
        study.optimize(evaluate, n_trials=settings.population * settings.generations)
    finally:
        optuna.logging.set_verbosity(told)


def check_library() -> None:
    """Raise BadInputError where optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise BadInputError("a search by evolution needs optuna; pip install 'hwloop[search]' brings it")


def _front_of(values: dict[Genome, tuple[float, float]]) -> list[Genome]:
    """Find the genomes to which no other is better in both values, the best of the second one first."""
    found: list[Genome] = []
    for genome in sorted(values, key=lambda one: (-values[one][1], -values[one][0], one)):
        if not found or values[genome][0] > values[found[-1]][0]:
            found.append(genome)
    return found
