"""Commands of a dialect: one row of its table each, and how a row is found by what was sent."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from hwloop.scpi.codes import Code, ScpiError
from hwloop.scpi.lexer import Argument, Unit
from hwloop.scpi.parameters import Parameter, Value, forms


@dataclass(frozen=True)
class Command:
    """One command or query: its header in SCPI notation (short form in capitals, optional nodes in brackets)."""

    header: str
    meaning: str
    parameters: tuple[Parameter, ...] = ()
    reply: str = ""
    errors: tuple[Code, ...] = ()
    example: str = ""
    changes: bool = False
    """Whether it changes the chip, its clock or the transfer memory: inside a session such a command must come in a
    LINK:CALL?, which is checked and carried out once."""

    @property
    def query(self) -> bool:
        """Whether it answers."""
        return self.header.endswith("?")

    def bind(self, arguments: tuple[Argument, ...]) -> list[Value]:
        """Return the values of all parameters. Raises ScpiError for one too many, missing, or unusable."""
        if len(arguments) > len(self.parameters):
            raise ScpiError(Code.PARAMETER_NOT_ALLOWED, f"{self.header} takes {len(self.parameters)}")
        values: list[Value] = []
        for parameter, argument in itertools.zip_longest(self.parameters, arguments):
            if argument is not None:
                values.append(parameter.bind(argument))
            elif parameter.default is not None:
                values.append(parameter.default)
            else:
                raise ScpiError(Code.MISSING_PARAMETER, f"{self.header}: {parameter.name}")
        return values

    def write(self, *values: Value) -> bytes:
        """Write the command as sent from the root of the tree, in short form, without terminator."""
        short = "".join(c for c in re.sub(r"\[.*?\]", "", self.header) if not c.islower())
        data = b",".join(p.write(v) for p, v in zip(self.parameters, values, strict=False))
        head = short if short.startswith("*") else f":{short}"
        return head.encode() + (b" " + data if data else b"")


def _spellings(header: str) -> set[tuple[str, ...]]:
    """List every sequence of nodes that names a command."""
    nodes = re.findall(r"(\[?):?([*A-Za-z]+)\]?", header)
    choices = [[(form,) for form in forms(node)] + ([()] if optional else []) for optional, node in nodes]
    return {tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*choices)}


class Dialect:
    """Finds the row of a command as it was sent."""

    def __init__(self, commands: tuple[Command, ...]) -> None:
        """Index the table. Raises ValueError when two rows share a spelling."""
        self.commands = commands
        self._by_nodes: dict[tuple[tuple[str, ...], bool], Command] = {}
        for command in commands:
            for nodes in _spellings(command.header):
                if self._by_nodes.setdefault((nodes, command.query), command) is not command:
                    raise ValueError(f"{command.header} and another command are both spelled {':'.join(nodes)}")

    def find(self, unit: Unit, path: tuple[str, ...]) -> tuple[Command, tuple[str, ...]]:
        """Return the row, and the path that the next command of the message starts from. Raises ScpiError -113."""
        nodes = unit.nodes if unit.common or unit.absolute else path + unit.nodes
        command = self._by_nodes.get((nodes, unit.query))
        if command is None:
            raise ScpiError(Code.UNDEFINED_HEADER, ":".join(nodes) + ("?" if unit.query else ""))
        return command, path if unit.common else nodes[:-1]
