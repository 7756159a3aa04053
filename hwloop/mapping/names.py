"""Names of tensors: those that wrappers of a network made longer, and those that come from a stranger's file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from hwloop.errors import printable

AROUND = ("module.", "base_model.model.")
"""What DataParallel and adapters put before every name of a network."""
COUNTER = "n_averaged"
"""What averaging puts beside a network, without a prefix."""
WITHIN = ("_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What compiling, sharding and checkpointing put wherever they wrap a part of a network."""


def without_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Take off what wrappers have put into the names of a network's tensors.

    Parameters
    ----------
    names
        All names of a state dict. What stands before every one of them counts as a wrapper, and what is marked as one
        anywhere.

    Returns
    -------
    dict
        The plain name of each, in order; the names as they are where two would become the same.
    """
    given = list(names)
    plain = given
    while True:
        shorter = [_without(name, WITHIN) for name in plain]
        for prefix in AROUND:
            inside = [name for name in shorter if name != COUNTER]
            if inside and all(name.startswith(prefix) and name != prefix for name in inside):
                shorter = [name.removeprefix(prefix) for name in shorter]
        if shorter == plain:
            break
        plain = shorter
    return dict(zip(given, plain if len(set(plain)) == len(set(given)) else given, strict=True))


def _without(name: str, parts: Sequence[str]) -> str:
    for part in parts:
        while name.startswith(part) and name != part:
            name = name.removeprefix(part)
        name = name.replace(f".{part}", ".")
    return name


def shorten(name: str, width: int) -> str:
    """Fit a name into so many characters; what is left out is in the middle, where long names are alike."""
    if len(name) <= width:
        return name
    end = (width - 1) * 2 // 3
    return f"{name[: width - 1 - end]}…{name[len(name) - end :]}"


def shortened(names: Iterable[str], width: int = 20) -> dict[str, str]:
    """Shorten names, made printable, so that no two of them look alike.

    What is left out is in the middle; where that makes two alike, it is what all names begin with, and where that does
    not help, they are numbered.
    """
    wanted = {name: printable(name) for name in names}
    fitted = {name: shorten(shown, width) for name, shown in wanted.items()}
    if len(set(fitted.values())) < len(wanted):
        levels = zip(*(shown.split(".") for shown in wanted.values()), strict=False)
        shared = len(list(takewhile(lambda level: len(set(level)) == 1, levels)))
        fitted = {name: shorten("…" + ".".join(shown.split(".")[shared:]), width) for name, shown in wanted.items()}
    if len(set(fitted.values())) < len(wanted):
        fitted = {name: shorten(f"{number}:…{shown}", width) for number, (name, shown) in enumerate(wanted.items())}
    return fitted
