"""Spaces of architectures: genes with their choices, and what makes a network of a genome."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from torch import nn

from hwloop.errors import BadInputError, first_line
from hwloop.typing import FloatArray

Genome: TypeAlias = tuple[int, ...]
"""A value of every gene, in the order of the genes."""


@dataclass(frozen=True)
class Space:
    """Architectures that a search may choose from.

    Parameters
    ----------
    genes
        Choices of each gene, in rising order, by name.
    make
        Makes the network of a genome with the global random numbers of torch, as layers do.
    named
        Gives a network a name that --network takes, MODULE:FACTORY; None where it has none.
    plain
        Gives the one genome that stands for all that make the same network, so that none is tried twice; None where
        every genome has a network of its own.
    """

    genes: Mapping[str, Sequence[int]]
    make: Callable[[Genome], nn.Module]
    named: Callable[[Genome], str] | None = None
    plain: Callable[[Genome], Genome] | None = None

    def __post_init__(self) -> None:
        for name, choices in self.genes.items():
            if not choices or any(not isinstance(one, int) for one in choices) or len(set(choices)) < len(choices):
                raise BadInputError(f"gene '{name}' has the choices {list(choices)}; expected whole numbers, each once")
        if not self.genes:
            raise BadInputError("the space has no genes; there is nothing to choose")

    def draw(self, rng: np.random.Generator) -> Genome:
        """Draw a genome uniformly."""
        return self.one_of_its_kind(tuple(int(rng.choice(list(choices))) for choices in self.genes.values()))

    def one_of_its_kind(self, genome: Genome) -> Genome:
        """Return the genome that stands for all with the network of this one."""
        return genome if self.plain is None else self.plain(genome)

    def network(self, genome: Genome) -> nn.Module:
        """Make the network of a genome. Raises BadInputError, in one line, where the space cannot."""
        try:
            made = self.make(genome)
        except Exception as error:
            raise BadInputError(f"the space makes no network of {self.written(genome)}: {first_line(error)}") from error
        if not isinstance(made, nn.Module):
            raise BadInputError(f"the space made a {type(made).__name__} of {self.written(genome)}, no torch.nn.Module")
        return made

    def written(self, genome: Genome) -> str:
        """Write a genome: gene=value, and so on."""
        return ", ".join(f"{name}={value}" for name, value in zip(self.genes, genome, strict=True))

    def features(self, genomes: Sequence[Genome]) -> FloatArray:
        """Give (genomes, genes) places of the values among the choices, from 0 to 1."""
        choices = [list(one) for one in self.genes.values()]
        found = [
            [own.index(value) / max(len(own) - 1, 1) for own, value in zip(choices, genome, strict=True)]
            for genome in genomes
        ]
        return np.array(found, np.float64).reshape(len(genomes), len(choices))

    def check(self, genome: Genome) -> Genome:
        """Return a genome of this space. Raises BadInputError for another."""
        if len(genome) != len(self.genes) or any(
            value not in choices for value, choices in zip(genome, self.genes.values(), strict=True)
        ):
            raise BadInputError(f"the genome {genome} is not of this space")
        return genome


def space_from(name: str, shape: tuple[int, ...], classes: int) -> Space:
    """Make the space that a name stands for, which runs the code of that module.

    Parameters
    ----------
    name
        A module with a function `space(shape, classes)`, such as hwloop.search.resnet_like.
    shape, classes
        Of one example of the data, and how many labels there are.

    Raises
    ------
    BadInputError
        In one line, where there is no such module or function, or it makes something else.
    """
    try:
        module = importlib.import_module(name)
    except (ImportError, ValueError, TypeError) as error:
        raise BadInputError(
            f"space '{name}': no such module ({first_line(error)}); hwloop.search.resnet_like is one"
        ) from None
    make = getattr(module, "space", None)
    if not callable(make):
        raise BadInputError(f"space '{name}': the module has no function space(shape, classes)")
    made = make(shape, classes)
    if not isinstance(made, Space):
        raise BadInputError(f"space '{name}' made a {type(made).__name__}; expected a hwloop.search.Space")
    return made
