"""A composed experiment as a command line and as Python, to copy; and either of them read back."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hwloop.errors import BadInputError
from hwloop.web.fields import Form, Values
from hwloop.web.settings import SETTINGS
from hwloop.web.settings_form import texts_of

METHODS = {"gdp": "GDP", "iterative": "ProgramVerify", "sgd": "SGD", "exact": "Exact"}
"""Classes of the public face by the names of methods."""


def command_line(words: Sequence[str]) -> str:
    """Write a command line, to be pasted into a shell."""
    return shlex.join(["hwloop", *words])


def folded(words: Sequence[str], width: int = 90) -> str:
    """Write a command line over several lines, broken before options."""
    lines, line = [], "hwloop"
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("-") or not groups or not groups[-1][0].startswith("-") or len(groups[-1]) > 1:
            groups.append([word])
        else:
            groups[-1].append(word)
    for group in groups:
        text = shlex.join(group)
        if len(line) + len(text) + 1 > width:
            lines.append(line)
            line = f"    {text}"
        else:
            line = f"{line} {text}"
    return " \\\n".join([*lines, line])


def words_from(text: str) -> list[str]:
    """Read a command line back, or a script that was copied from a page, whose first line has it.

    Raises
    ------
    BadInputError
        For a text that is neither.
    """
    if len(text) > SETTINGS.line:
        raise BadInputError("this is too long for a command line")
    lines = [line.strip() for line in re.sub(r"\\\s*\n", " ", text).splitlines() if line.strip()]
    found = next((line for line in lines if re.match(r"(#\s*|\$\s*)?hwloop\s", f"{line} ")), None)
    if found is None:
        raise BadInputError("there is no line that begins with 'hwloop'")
    try:
        words = shlex.split(re.sub(r"^[#$]\s*", "", found), comments=True)[1:]
    except ValueError as error:
        raise BadInputError(f"the command line cannot be read: {error}") from None
    if not words or len(words) > SETTINGS.words:
        raise BadInputError("name a command behind 'hwloop'" if not words else "this has too many words")
    return words


# ---- Python ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """What is given of a form, as Python writes it."""

    form: Form
    values: Values

    def has(self, name: str) -> bool:
        """Tell whether a parameter is given, and not as by default."""
        return bool(self.values.get(name)) and self.text(name) != self.form.field(name).default

    def text(self, name: str) -> str:
        """Return the text of a parameter, its default where it is not given."""
        known = [one for one in self.form.fields if one.name == name]
        return self.values.get(name, ("",))[-1] or (known[0].default if known else "")

    def python(self, name: str) -> str:
        """Write the value of a parameter."""
        field, texts = self.form.field(name), self.values.get(name, ())
        if field.role == "flag":
            return str(bool(texts))
        if field.several:
            return repr(list(texts))
        text = self.text(name)
        if field.role in ("whole", "number") and re.fullmatch(r"[-+0-9.eE]+", text):
            return text
        return repr(text)

    def named(self, *names: str) -> list[str]:
        """Write those of some parameters that are given, as keyword arguments."""
        return [f"{name}={self.python(name)}" for name in names if self.has(name)]

    def settings(self, name: str = "settings") -> Mapping[str, str]:
        """Return settings by their keys."""
        return texts_of(self.values.get(name, ()))

    def listed(self, name: str) -> list[str]:
        """Return the parts of a text with commas."""
        return [one.strip() for one in self.text(name).split(",") if one.strip()]


def method(name: str, settings: Mapping[str, str]) -> str:
    """Write a programming method."""
    if not settings:
        return repr(name)
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"hwloop.{METHODS[name]}({told})" if name in METHODS else f"method_from({name!r}, {dict(settings)!r})"


def mapping(given: Given) -> list[str]:
    """Write how weights become conductances, where that is not as by default."""
    parts = given.named("scale", "split", "clip")
    return [f"mapping=hwloop.MappingSettings({', '.join(parts)})"] if parts else []


def call(name: str, arguments: Sequence[str]) -> str:
    """Write a call, over several lines where it is long."""
    line = f"hwloop.{name}({', '.join(arguments)})"
    return line if len(line) < 90 else f"hwloop.{name}(\n    " + ",\n    ".join(arguments) + ",\n)"


def with_chip(given: Given, result: str, body: str, name: str = "backend") -> str:
    """Write a call on a chip that is open meanwhile."""
    inner = "\n".join(f"    {line}" for line in f"{result} = {body}".splitlines())
    return f"with hwloop.connect({given.text(name)!r}) as chip:\n{inner}"


TASK = ("calibration", "inputs", "age", "seed")


def _weights(given: Given) -> str:
    """Write the weights; those of some tensors are read apart."""
    asked = given.named("layout", "merge_lora", "tensor")
    return repr(given.text("weights")) if not asked else ""


def _program(given: Given) -> str:
    if not _weights(given) or any(map(given.has, ("workers", "fleet", "goal", "plot", "dry_run"))):
        return ""
    arguments = ["chip", _weights(given), method(given.text("method"), given.settings()), *mapping(given)]
    arguments += [*given.named(*TASK, "chip_seconds", "force", "out")]
    return f"{with_chip(given, 'run', call('program', arguments))}\nprint(run.mvm_error)"


def _compare(given: Given) -> str:
    if not _weights(given) or any(map(given.has, ("goal", "plot"))):
        return ""
    settings: dict[str, dict[str, str]] = {}
    for key, value in given.settings().items():
        name, _, own = key.partition(".")
        settings.setdefault(name, {})[own] = value
    methods = ", ".join(method(name, settings.get(name, {})) for name in given.listed("methods"))
    arguments = ["chip", _weights(given), f"[{methods}]", *mapping(given)]
    arguments += given.named(*TASK, "repeats", "force", "out")
    return f"{with_chip(given, 'comparison', call('compare', arguments))}\nprint(comparison)"


def _drift(given: Given) -> str:
    if any(map(given.has, ("network", "dataset", "plot"))):
        return ""
    arguments = [repr(given.text("run")), "chip" if given.has("backend") else "None", repr(given.listed("times"))]
    arguments += [repr(given.listed("compensation"))]
    arguments += given.named("calibration", "model", "limit", "probes", "seed", "force", "out")
    body = call("drift", arguments)
    return f"{with_chip(given, 'study', body) if given.has('backend') else f'study = {body}'}\nprint(study)"


def _calibrate(given: Given) -> str:
    part = given.form.path[-1]
    if part in ("daily", "check", "show") or any(map(given.has, ("weights", "age", "force"))):
        return ""
    first, parts = "", [] if part == "all" else [f"[{part!r}]"]
    if given.settings():
        first = "from hwloop.jobs.calibrate import plan_from\nfrom hwloop.calibration.certificate.plan import PARTS\n\n"
        parts = [f"plan_from({'PARTS' if part == 'all' else f'[{part!r}]'}, {dict(given.settings())!r})"]
    arguments = ["chip", *parts, *given.named("cores", "seed", "out")]
    return f"{first}{with_chip(given, 'calibration', call('calibrate', arguments))}\nprint(calibration)"


def _measure(given: Given) -> str:
    unlike = ("resume", "force", "low", "high", "cores")
    if any(map(given.has, unlike)) or given.form.path[-1] == "programming-curve" or "," in given.text("levels"):
        return ""
    renamed = {"max_pulses": "max_pulses_per_device", "age": "target_age"}
    own = ("cells", "levels", "averages", "tolerance", "max_pulses", "settle", "age", "until", "per_decade", "samples",
           "interval", "sample_averages", "pulses", "read_every", "cycles")  # fmt: skip
    listed = {one.name for one in given.form.fields}
    settings = [f"{renamed.get(name, name)}={given.python(name)}" for name in own if name in listed and given.has(name)]
    settings = [one.replace("'", "") if one.startswith("levels=") else one for one in settings]
    if any(name in listed and given.has(name) for name in ("first", "ages", "start")):
        return ""
    arguments = ["chip", repr(given.form.path[-1]), *settings]
    arguments += given.named("calibration", "temperature", "seed", "out")
    return f"{with_chip(given, 'measurement', call('measure', arguments))}\nprint(measurement)"


def _fit(given: Given) -> str:
    if given.has("figures"):
        return ""
    arguments = [repr(given.text("measurements")), *given.named("family", "hold_out", "force", "out")]
    return f"model = {call('fit', arguments)}\nprint(model.params_)"


def _evaluate(given: Given) -> str:
    if given.has("times") or given.has("network"):
        return ""
    arguments = [repr(given.text("run")), *(["chip"] if given.has("backend") else [])]
    body = call("evaluate", [*arguments, *given.named("seed", "calibration")])
    return f"{with_chip(given, 'found', body) if given.has('backend') else f'found = {body}'}\nprint(found)"


def _export(given: Given) -> str:
    arguments = [repr(given.text("file")), repr(given.text("to")), repr(given.text("out"))]
    return call("export", [*arguments, *given.named("tensor", "force")])


def _report(given: Given) -> str:
    return call("report", [repr(given.text("file")), repr(given.text("out")), *given.named("force")])


def _resume(given: Given) -> str:
    if any(map(given.has, ("network", "workers", "fleet", "plot"))):
        return ""
    body = call("resume", [repr(given.text("file")), *(["chip"] if given.has("backend") else [])])
    return f"{with_chip(given, 'found', body) if given.has('backend') else f'found = {body}'}\nprint(found)"


WRITERS: Mapping[str, Callable[[Given], str]] = {
    "program": _program,
    "compare": _compare,
    "drift": _drift,
    "calibrate": _calibrate,
    "measure": _measure,
    "fit": _fit,
    "evaluate": _evaluate,
    "export": _export,
    "report": _report,
    "resume": _resume,
}
"""What writes the call of a command; '' where an option has no counterpart in the call."""


def python(form: Form, values: Values, words: Sequence[str]) -> str:
    """Write Python that does the same; its first line is the command line, by which a page opens it again."""
    writer = WRITERS.get(form.path[0])
    body = writer(Given(form, values)) if writer is not None else ""
    head = f"# {command_line(words)}\nimport hwloop\n"
    if body.startswith("from "):
        return f"{head}{body}\n"
    if "method_from(" in body:
        head += "from hwloop.calibration.programming.registry import method_from\n"
    if body:
        return f"{head}\n{body}\n"
    listed = "\n".join(f"    {word!r}," for word in words)
    return f"# {command_line(words)}\nfrom hwloop.cli import main\n\nmain([\n{listed}\n], standalone_mode=False)\n"
