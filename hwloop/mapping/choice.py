"""Which tensors of a network are programmed, and a note on those that are not."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from hwloop.errors import BadInputError, printable
from hwloop.mapping.layouts import LAYOUTS, Reading, is_keras, readings
from hwloop.mapping.roles import bias_of, is_copy, parts_of, role_of
from hwloop.mapping.tensors import Role, Tensor
from hwloop.registry import suggest

TensorLike = str | Sequence[str] | None
LayoutLike = str | Mapping[str, str] | None
WILD = frozenset("*?[")


@dataclass(frozen=True)
class Choice:
    """What the caller asks for."""

    tensors: tuple[str, ...] = ()
    """Names or patterns of tensors to take; all weights where there is none."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Layout by name or pattern."""
    default: str | None = None
    """Layout of all others; None: the one that each shows."""
    listed: int = 4
    """Most names that a note or an error lists."""

    @staticmethod
    def of(tensor: TensorLike, layout: LayoutLike) -> Choice:
        """Check what a caller gave.

        Raises
        ------
        BadInputError
            For a layout that there is not.
        """
        names = () if tensor is None else (tensor,) if isinstance(tensor, str) else tuple(tensor)
        layouts = dict(layout) if isinstance(layout, Mapping) else {}
        default = layout if isinstance(layout, str) else layouts.pop("", None)
        for given in [*layouts.values(), *([default] if default is not None else [])]:
            if given not in LAYOUTS:
                raise BadInputError(f"unknown layout '{printable(str(given))}'; {suggest(str(given), list(LAYOUTS))}")
        return Choice(names, layouts, default)


@dataclass(frozen=True)
class Chosen:
    """A tensor to program, and how it becomes a matrix."""

    tensor: Tensor
    """The tensor."""
    reading: Reading
    """How it becomes a matrix."""
    named: bool
    """Whether the caller gave its full name."""
    known: bool
    """Whether it is called as weights are."""


@dataclass
class Notes:
    """What was passed over, by reason, and what else is worth a line."""

    listed: int
    """Most names that a reason lists."""
    passed: dict[str, list[str]] = field(default_factory=dict)
    """Names of tensors by the reason why they were passed over."""
    read: dict[str, list[str]] = field(default_factory=dict)
    """Names of tensors that were read in another way than the usual one, by how."""

    def sentences(self) -> list[str]:
        """Tell it, a line for each kind."""
        lines = []
        if self.passed:
            count = sum(map(len, self.passed.values()))
            reasons = "; ".join(f"{self._names(names)}: {reason}" for reason, names in self.passed.items())
            lines.append(f"{count} tensor{'s' * (count > 1)} passed over ({reasons}); --tensor NAME takes one by name")
        lines += [f"read {how}: {self._names(names)}" for how, names in self.read.items()]
        return lines

    def _names(self, names: Sequence[str]) -> str:
        more = f" and {len(names) - self.listed} more" if len(names) > self.listed else ""
        return ", ".join(names[: self.listed]) + more


def choose(tensors: Sequence[Tensor], choice: Choice, source: str, *, strict: bool) -> tuple[list[Chosen], Notes]:
    """Choose the weights among the tensors of a network.

    Parameters
    ----------
    tensors
        All tensors, in order.
    choice
        What the caller asks for.
    source
        What errors call them.
    strict
        Whether only what is called like a weight is one, where anything is; for files.

    Raises
    ------
    BadInputError
        For a name that there is not, and for weights that have no right reading.
    """
    notes = Notes(choice.listed)
    by_name = {tensor.key: tensor for tensor in tensors if not tensor.aside}
    wanted = _wanted(tensors, choice, source)
    exact = {tensor.key for tensor in wanted if _names_it(tensor, choice.tensors)}
    roles = {tensor.key: _role(tensor, by_name) for tensor in tensors}
    weights = {tensor.storage: tensor.name for tensor in wanted if tensor.storage and roles[tensor.key] is Role.WEIGHT}
    kept: list[Tensor] = []
    for tensor in wanted:
        if tensor.key in exact or _may_be(tensor, roles[tensor.key], choice):
            kept.append(tensor)
        elif tensor.ndim >= 2:
            tied = weights.get(tensor.storage)
            reason = tensor.aside or (roles[tensor.key].value if tied is None else f"the same as {tied}")
            notes.passed.setdefault(reason, []).append(tensor.name)
    if not exact:
        kept = _likely(kept, roles, notes, strict=strict)
    _refuse_packed(kept, tensors, source)
    found = _read(kept, tensors, choice, source)
    chosen = [
        Chosen(tensor, found[tensor.key], tensor.key in exact, roles[tensor.key] is Role.WEIGHT) for tensor in kept
    ]
    return chosen, notes


def _role(tensor: Tensor, by_name: Mapping[str, Tensor]) -> Role:
    if tensor.role is not None:
        return tensor.role
    if is_copy(tensor, by_name):
        return Role.COPY
    return role_of(tensor, bias_of(tensor, by_name) is not None)


def _wanted(tensors: Sequence[Tensor], choice: Choice, source: str) -> list[Tensor]:
    """List what the names and patterns match, in the order of the file."""
    if not choice.tensors:
        return list(tensors)
    for pattern in choice.tensors:
        if not any(_matches(tensor, pattern) for tensor in tensors):
            names = [tensor.name for tensor in tensors]
            more = f" and {len(names) - 12} more" if len(names) > 12 else ""
            raise BadInputError(f"{source}: no tensor '{printable(pattern)}'; it holds {', '.join(names[:12])}{more}")
    return [tensor for tensor in tensors if any(_matches(tensor, pattern) for pattern in choice.tensors)]


def _names_it(tensor: Tensor, patterns: Iterable[str]) -> bool:
    return any(pattern in (tensor.key, tensor.alias, tensor.name) for pattern in patterns)


def _matches(tensor: Tensor, pattern: str) -> bool:
    if _names_it(tensor, (pattern,)):
        return True
    if not WILD & set(pattern) or (tensor.aside and not pattern.startswith(f"{tensor.key.partition('.')[0]}.")):
        return False
    return any(fnmatchcase(name, pattern) for name in (tensor.key, tensor.alias, tensor.name) if name)


def _may_be(tensor: Tensor, role: Role, choice: Choice) -> bool:
    """Tell whether a tensor may be a weight."""
    if tensor.ndim < 2 or (tensor.aside and not any(_matches(tensor, pattern) for pattern in choice.tensors)):
        return False
    return role in (Role.WEIGHT, Role.OTHER, Role.INTEGER)


def _likely(kept: list[Tensor], roles: Mapping[str, Role], notes: Notes, *, strict: bool) -> list[Tensor]:
    """Leave out what others show to be no weight: integers beside real numbers, strange names beside known ones."""
    real = [tensor for tensor in kept if roles[tensor.key] is not Role.INTEGER]
    integers = [tensor for tensor in kept if roles[tensor.key] is Role.INTEGER]
    if real or (strict and not (len(kept) == 1 and kept[0].alone)):
        for tensor in integers:
            notes.passed.setdefault(Role.INTEGER.value, []).append(tensor.name)
        kept = real
    known = [tensor for tensor in kept if roles[tensor.key] is Role.WEIGHT]
    if any(parts_of(tensor.key)[-1] == "weight" for tensor in known):  # a kernel is then a filter that is not learnt
        known = [tensor for tensor in known if not is_keras(tensor)]
    if strict and known:
        for tensor in kept:
            if tensor not in known:
                notes.passed.setdefault(Role.OTHER.value, []).append(tensor.name)
        kept = known
    return kept


def _refuse_packed(kept: Sequence[Tensor], tensors: Sequence[Tensor], source: str) -> None:
    """Refuse integers that hold several weights each, or lack a scale that lies elsewhere."""
    names = {tensor.key for tensor in tensors}
    for tensor in kept:
        stem = tensor.key.removesuffix("qweight").removesuffix("weight")
        companions = {f"{tensor.key}.absmax", f"{tensor.key}.quant_map", f"{stem}qzeros", f"{stem}scales", f"{stem}SCB"}
        if tensor.number == "integer" and names & companions:
            raise BadInputError(
                f"{source}: tensor '{tensor.name}' is quantised and packed; dequantise the network before saving it"
            )


def _read(kept: Sequence[Tensor], tensors: Sequence[Tensor], choice: Choice, source: str) -> dict[str, Reading]:
    """Tell how each tensor becomes a matrix. Raises BadInputError for one that has no right reading."""
    given = {tensor.key: layout for tensor in kept if (layout := _layout(tensor, choice)) is not None}
    unused = [pattern for pattern in choice.layouts if not any(_matches(tensor, pattern) for tensor in tensors)]
    if unused:
        raise BadInputError(f"{source}: no tensor '{printable(unused[0])}', for which a layout is given")
    usable = [tensor for tensor in kept if tensor.ndim >= 2 and not tensor.trouble]
    open_ones = [tensor for tensor in usable if tensor.key not in given and tensor.reading is None]
    network = [tensor for tensor in tensors if not tensor.aside]
    found = readings(open_ones, network, choice.default)
    found |= {key: Reading(layout) for key, layout in given.items()}
    found |= {tensor.key: tensor.reading for tensor in usable if tensor.reading and tensor.key not in given}
    wrong = [tensor for tensor in usable if found[tensor.key].trouble]
    if wrong:
        first, more = wrong[0], f"; {len(wrong) - 1} more are like it" if len(wrong) > 1 else ""
        trouble = found[first.key].trouble.replace(
            "NAME=", f"'{first.name}='" if " " in first.name else f"{first.name}="
        )
        raise BadInputError(f"{source}: tensor '{first.name}' {trouble}{more}")
    return {tensor.key: found.get(tensor.key, Reading(LAYOUTS[0])) for tensor in kept}


def _layout(tensor: Tensor, choice: Choice) -> str | None:
    """Find the layout given for a tensor: by its name, else by the last pattern that matches."""
    for pattern, layout in choice.layouts.items():
        if _names_it(tensor, (pattern,)):
            return layout
    matching = [layout for pattern, layout in choice.layouts.items() if _matches(tensor, pattern)]
    return matching[-1] if matching else None


def renamed(tensors: Iterable[Tensor], plain: Mapping[str, str]) -> list[Tensor]:
    """Give tensors their plain names, and keep the full ones as their aliases."""
    return [
        tensor
        if tensor.aside or plain[tensor.key] == tensor.key
        else dataclasses.replace(tensor, key=plain[tensor.key], alias=tensor.alias or tensor.key)
        for tensor in tensors
    ]
