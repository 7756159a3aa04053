"""Search of networks by evolution beside random search of equal budget, and beside the hand-made CNN of equal weights.

    python benchmarks/search.py                          three seeds, 100 networks each
    python benchmarks/search.py --seeds 1 --budget 40    less
    python benchmarks/search.py --keep kept              goes on with what an earlier one has left in that folder
    python benchmarks/search.py --reliability 45         how well drops can be measured, and known beforehand

Networks have at most as many weights as `digits_cnn`, and are trained alike, it too. Winners are those of the most
accurate month on the front; they and the hand-made network are asked on ten twins that no search has seen, with the
test images of the digits. The surrogate's rank correlation is that with the drop over a month of networks that it was
not fitted to: it is fitted to all of a seed's evolution, and predicts the random search of that seed.

With `--reliability`, networks are drawn at random and asked on six twins each. Drops by two twins are compared with
drops by two others, which no prediction of drops by two twins can be much better than, and with what surrogates predict
that were fitted to the other networks, two twins each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from scipy.stats import kendalltau

import hwloop
from hwloop.jobs.candidates import Evaluator, accuracies, in_float_of, trained, twins_of
from hwloop.jobs.search import Evaluated, steps, total
from hwloop.jobs.search_result import Found
from hwloop.nn import zoo
from hwloop.nn.datasets import Dataset, read_dataset
from hwloop.nn.noisy_accuracy import Images
from hwloop.optim.training import seeded
from hwloop.search import Limits, SearchSettings, Trial, resnet_like
from hwloop.search.evolution import drawn
from hwloop.search.surrogate import Surrogate
from hwloop.search.trials import Footprint
from hwloop.sim_backend.statistical.chip import StatisticalChip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="sim:hermes-64")
    parser.add_argument("--seed", type=int, default=601, help="the first one")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--twins", type=int, default=10, help="fresh ones, for the winners")
    parser.add_argument("--reliability", type=int, default=0, metavar="NETWORKS")
    parser.add_argument("--compensation", default=SearchSettings().compensation)
    parser.add_argument("--keep", type=Path, help="folder for the networks so far")
    given = parser.parse_args()
    print(machine())
    data = read_dataset(hwloop.data.path("digits.npz"))
    limits = Limits(weights=resnet_like.weights_of(zoo.digits_cnn()))
    rows = []
    with twins_of(given.backend) as chip:
        if given.reliability:
            settings = SearchSettings(seed=given.seed, twins=6, compensation=given.compensation)
            reliability(chip, data, settings, limits, given.reliability)
            return
        for seed in range(given.seed, given.seed + given.seeds):
            settings = SearchSettings(
                budget=given.budget, first=min(30, given.budget // 2), seed=seed, compensation=given.compensation
            )
            rows.append(compared(chip, given.backend, data, settings, limits, given.twins, given.keep))
            told_of(rows)


def told_of(rows: Sequence[tuple[float, float, float, float]]) -> None:
    """Print what the seeds so far gave."""
    for name, values in zip(("random search", "the hand-made CNN"), zip(*rows, strict=True), strict=False):
        print(f"points over {name} after a month, mean of seeds: {100 * statistics.mean(values):+.2f}")
    print(f"hypervolume over that of random search: {', '.join(f'{row[2]:+.4f}' for row in rows)}")
    print(f"rank correlation with the drop over a month: {', '.join(f'{row[3]:.2f}' for row in rows)}", flush=True)


def compared(
    chip: StatisticalChip,
    uri: str,
    data: Dataset,
    settings: SearchSettings,
    limits: Limits,
    twins: int,
    keep: Path | None,
) -> tuple[float, float, float, float]:
    """Search both ways, and ask the winners on fresh twins."""
    found: list[Found] = []
    images = Images(torch.from_numpy(data.x_train), torch.from_numpy(data.y_train))
    space = resnet_like.space(data.x_train.shape[1:], data.classes)
    shared = Evaluated(0, total(settings))
    for strategy in ("random", "evolution"):
        begun, wall = time.process_time(), time.monotonic()
        how = SearchSettings(**{**vars(settings), "strategy": strategy})
        # Both begin with the same random networks, which need not be evaluated twice.
        evaluator = Evaluator(space, images, chip, how, limits)
        latest = shared
        for latest in kept_steps(evaluator, shared, keep and keep / f"{settings.seed}-{strategy}.json"):
            if not shared.trials and len(latest.trials) >= how.first:
                shared = of_trials([replace(one, again=()) for one in latest.trials[: how.first]], how)
        found.append(Found(latest.trials, latest.weights, "resnet_like", uri, how, limits))
        best = found[-1].winner
        print(
            f"seed {settings.seed}, {strategy}: {best.network.partition(':')[2]}, {best.footprint.weights} weights, "
            f"accuracy {best.accuracy:.4f}, after a month {best.lasting:.4f} on held-out images; hypervolume "
            f"{found[-1].hypervolume:.4f}; {time.process_time() - begun:.0f} s of CPU, "
            f"{(time.monotonic() - wall) / 60:.0f} min",
            flush=True,
        )
    found = found[::-1]
    names = [resnet_like.network(one.winner.network.partition(":")[2]) for one in found]
    for network, one in zip(names, found, strict=True):
        network.load_state_dict(evaluator.with_all(one.winner.genome))
        network.eval()
    training, test = (
        Images(torch.from_numpy(x), torch.from_numpy(y))
        for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test))
    )
    with seeded(settings.seed):
        own = zoo.digits_cnn()
        trained(own, training, settings)
    asked = []
    for name, network in zip(("evolution", "random", "hand-made"), (*names, own), strict=True):
        seeds = [50_000_000 + 100 * settings.seed + number for number in range(twins)]
        ages = (0.0, settings.day, settings.month)
        months = accuracies(network, chip, [(one, test) for one in seeds], training, settings, ages)
        asked.append([one[-1] for one in months])
        print(f"  {name}: float {in_float_of(network, test):.4f}, {told(months)}", flush=True)
    tau = correlation(found[0].trials, found[1].trials, evaluator)
    means = [statistics.mean(one) for one in asked]
    return means[0] - means[1], means[0] - means[2], found[0].hypervolume - found[1].hypervolume, tau


def kept_steps(evaluator: Evaluator, begun: Evaluated, path: Path | None) -> Iterator[Evaluated]:
    """Carry out a search as `steps` does, from what a file has of it; weights are not kept, nor asked for."""
    if path is None:
        yield from steps(evaluator, begun)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        trials = tuple(trial_of(one) for one in json.loads(path.read_text()))
        begun = of_trials(trials, evaluator.settings)
        yield begun
    for latest in steps(evaluator, begun):
        whole = path.with_suffix(".part")
        whole.write_text(json.dumps([asdict(one) for one in latest.trials]))
        whole.replace(path)
        yield latest


def of_trials(trials: Sequence[Trial], settings: SearchSettings) -> Evaluated:
    """Give a search that has evaluated these networks, without their weights."""
    done = len(trials) + sum(len(one.again) for one in trials)
    return Evaluated(done, total(settings), trials=tuple(trials), weights={number: {} for number in range(len(trials))})


def trial_of(told_: dict[str, Any]) -> Trial:
    """Read a network from what a file has of it."""
    takes = told_["footprint"]
    shapes = tuple((rows, columns) for rows, columns in takes.pop("shapes"))
    values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in told_.items()}
    values["footprint"] = Footprint(**takes, shapes=shapes)
    return Trial(**values)


def reliability(chip: StatisticalChip, data: Dataset, settings: SearchSettings, limits: Limits, count: int) -> None:
    """Tell how well drops by two twins agree with those by two others, and with what surrogates predict."""
    images = Images(torch.from_numpy(data.x_train), torch.from_numpy(data.y_train))
    evaluator = Evaluator(resnet_like.space(data.x_train.shape[1:], data.classes), images, chip, settings, limits)
    genomes = drawn(evaluator.space, evaluator.fits, set(), count, np.random.default_rng(settings.seed))
    trials = [evaluator.evaluate(genome)[0] for genome in genomes]
    pairs = [[by_twins(one, (2 * pair, 2 * pair + 1)) for one in trials] for pair in range(3)]
    measured = {
        "drop": [[one.drop_month for one in pair] for pair in pairs],
        "accuracy": [[one.lasting for one in pair] for pair in pairs],
    }
    for name, found in measured.items():
        both = [float(kendalltau(found[a], found[b]).statistic) for a, b in ((0, 1), (0, 2), (1, 2))]
        print(f"{name} over a month, two twins and two others: Kendall {statistics.mean(both):.2f} of {count} networks")
    folds = np.random.default_rng(settings.seed).permutation(count) % 6
    drop, month = np.zeros(count), np.zeros(count)
    for fold in range(6):
        seen = [one for one, own in zip(pairs[0], folds, strict=True) if own != fold]
        left = [one for one, own in zip(pairs[0], folds, strict=True) if own == fold]
        model = Surrogate(evaluator.space, seen, [one.footprint for one in seen])
        told_ = model.predict([one.genome for one in left], [one.footprint for one in left])
        drop[folds == fold], month[folds == fold] = told_["drop"][0], told_["month"][0]
    for name, by in (("drop", drop), ("accuracy", month)):
        tau = float(kendalltau(by, measured[name][0]).statistic)
        print(f"{name} over a month, predicted and by two twins: Kendall {tau:.2f}")


def by_twins(trial: Trial, which: tuple[int, ...]) -> Trial:
    """Give a trial as if only some of its twins had been asked."""
    programmed, day, month = (tuple(ages[one] for one in which) for ages in (trial.programmed, trial.day, trial.month))
    return replace(trial, programmed=programmed, day=day, month=month)


def told(months: Sequence[tuple[float, ...]]) -> str:
    """Write the means at the three ages."""
    means = np.array(months).mean(0)
    ages = ("after programming", "a day", "a month")
    return ", ".join(f"{age} {mean:.4f}" for age, mean in zip(ages, means, strict=True)) + f" on {len(months)} twins"


def correlation(seen: Sequence[Trial], others: Sequence[Trial], evaluator: Evaluator) -> float:
    """Fit the surrogate to some networks, and compare its ranks of others with what was measured."""
    known = {one.genome for one in seen}
    fresh = [one for one in others if one.genome not in known]
    model = Surrogate(evaluator.space, seen, [one.footprint for one in seen])
    told_ = model.predict([one.genome for one in fresh], [one.footprint for one in fresh])
    for name in ("accuracy", "month"):
        measured = [one.accuracy if name == "accuracy" else one.lasting for one in fresh]
        print(f"  {name}: Kendall {kendalltau(told_[name][0], measured).statistic:.3f}", flush=True)
    for name in ("drop_day", "drop_month"):
        tau = kendalltau(told_["drop"][0], [getattr(one, name) for one in fresh]).statistic
        print(f"  {name}: Kendall {tau:.3f} of {len(fresh)} networks that the surrogate has not seen", flush=True)
    return float(tau)


if __name__ == "__main__":
    main()
