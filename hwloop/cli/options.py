"""Options of the commands that put weights on a chip, and how their progress is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from hwloop.calibration.programming.registry import METHODS
from hwloop.cli.common import Function, progress_bar, stoppable
from hwloop.jobs.program import Observer, Progress
from hwloop.jobs.tasks import Task
from hwloop.mapping.matrix import LAYOUTS
from hwloop.mapping.partition import SCALES, MappingSettings
from hwloop.mapping.split import SPLITS


def task_options(function: Function) -> Function:
    """WEIGHTS and everything that `make_task` takes."""
    decorators: list[Callable[[Any], Any]] = [
        click.argument("weights", type=click.Path()),
        click.option("--backend", required=True, help="Chip to program, such as sim:hermes-core?seed=1."),
        click.option("--tensor", help="Program this tensor of the file alone."),
        click.option("--layout", default=LAYOUTS[0], help=f"Order of a tensor's axes: {' or '.join(LAYOUTS)}."),
        click.option("--scale", default="column", help=f"Weight scale per {' or per '.join(SCALES)}."),
        click.option("--split", default="fill", help=f"How the devices of a polarity share: {' or '.join(SPLITS)}."),
        click.option(
            "--age", type=float, help="Seconds after programming at which targets hold [default: the chip's t0]."
        ),
        click.option("--calibration", type=click.Path(), help="Calibration file of this chip (hwloop calibrate)."),
        click.option("--inputs", type=click.Path(), help="Sample activations: .npz by tensor, or .npy for one tensor."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of inputs and probes."),
        click.option("--force", is_flag=True, help="Replace an existing output file."),
        click.option("--plot", type=click.Path(), help="Also draw the result, FILE.png or FILE.svg."),
        click.option("--goal", type=float, help="Exit with code 1 unless the MVM error is at most this."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def make_task(
    weights: str,
    backend: str,
    tensor: str | None,
    layout: str,
    scale: str,
    split: str,
    age: float | None,
    seed: int,
    calibration: str | None,
    inputs: str | None,
) -> Task:
    """The task that the options describe."""
    return Task(weights, backend, tensor, layout, MappingSettings(scale, split), age, seed, calibration, inputs)


@contextmanager
def observed(label: str, jobs: int = 1) -> Iterator[Observer]:
    """An observer that draws progress over `jobs` runs and stops them between steps on Ctrl-C."""
    finished, shown = 0, 0

    with progress_bar(label) as show, stoppable() as check:

        def observe(progress: Progress) -> None:
            nonlocal finished, shown
            if shown and progress.step.index == 0 and progress.tile == 0:
                finished += 1  # a new run began
            done = progress.step.index * progress.tiles + progress.tile + 1
            part = done / (progress.tiles * (progress.rounds + 1))
            shown = max(shown, round(1000 * (finished + part)))
            show(shown, 1000 * jobs)
            check()

        yield observe


METHOD_NAMES = ", ".join(METHODS)
