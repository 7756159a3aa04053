"""A form as it is filled in: from a command line or by a browser, with settings and options of the chip."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hwloop.chip.profiles import profiles
from hwloop.chip.registry import SIMULATED, schemes, split_uri
from hwloop.errors import BadInputError
from hwloop.typing import Json
from hwloop.web import rules
from hwloop.web.fields import Field, Form, Posted, Role, Values, check, form_of, values_from, values_of, words_of
from hwloop.web.reading import quietly
from hwloop.web.script import words_from
from hwloop.web.settings_form import Group, changed, texts_of
from hwloop.web.site import Site

FIRST_CHIP = "sim:hermes-core?seed=1"
"""The chip of a new form."""
NETWORKS = ("digits_mlp", "digits_cnn", "digits_lstm", "digits_transformer")
"""Networks of the zoo for which data comes with hwloop."""


@dataclass(frozen=True)
class ChipOption:
    """An option of a simulated chip, as a field."""

    name: str
    value: str
    default: str
    whole: bool
    low: float
    high: float
    words: tuple[str, ...]
    unit: str
    help: str


@dataclass(frozen=True)
class Composed:
    """A form as it is filled in.

    Parameters
    ----------
    form, values
        The command, and the texts of its parameters.
    groups
        Settings that it takes now.
    chip
        Options of its simulated chip; empty for another kind.
    """

    form: Form
    values: Values
    groups: tuple[Group, ...] = ()
    chip: tuple[ChipOption, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command line, without the program's name."""
        return words_of(self.form, self.values)

    def text(self, name: str) -> str:
        """Return the text of a parameter, its default where none is given."""
        return (self.values.get(name) or (self.form.field(name).default,))[-1]

    @property
    def chip_field(self) -> Field | None:
        """The field of its chip."""
        return next((one for one in self.form.fields if one.role is Role.CHIP), None)

    def setting(self, group: Group, key: str) -> str:
        """Return the text of a setting that is given; empty for none."""
        return texts_of(self.values.get(group.option, ())).get(key, "")

    def given_in(self, group: Group) -> int:
        """Count the settings of a group that are given."""
        given = texts_of(self.values.get(group.option, ()))
        return sum(one.key in given for one in group.settings)

    def other_settings(self, field: Field) -> list[str]:
        """List the settings that are given and that no group knows."""
        known = {one.key for group in self.groups if group.option == field.name for one in group.settings}
        return [text for text in self.values.get(field.name, ()) if text.partition("=")[0] not in known]

    def suggestions(self, site: Site, field: Field) -> list[str]:
        """List what a field may be filled with."""
        if field.role is Role.INPUT:
            return fitting_files(site, field)
        if field.role is Role.NETWORK:
            files = [f"{one.name}:FACTORY" for one in site.folder.files() if one.name.endswith(".py")]
            return [*(f"{rules.ZOO}{name}" for name in NETWORKS), *files]
        return known_chips() if field.role is Role.CHIP else []


def known_chips() -> list[str]:
    """List the chips that have names."""
    kinds = schemes()
    presets = (
        [f"{SIMULATED}:{target}?seed=1" for target in kinds[SIMULATED].load().targets] if SIMULATED in kinds else []
    )
    try:
        return [*(f"lab:{name}" for name in profiles()), *presets]
    except BadInputError:
        return presets


ENDINGS: Mapping[str, tuple[str, ...]] = {
    "weights": (".safetensors", ".npy", ".npz", ".pt", ".pth", ".onnx", ".keras", ".bin"),
    "dataset": (".npz",),
    "inputs": (".npy", ".npz"),
    "model": (".json",),
    "fleet": (".toml",),
    "files": (".csv", ".tsv", ".txt", ".h5", ".hdf5"),
    "file": (".h5", ".json", ".safetensors"),
}
"""Endings of the files that a field takes; any other takes HDF5."""


def fitting_files(site: Site, field: Field) -> list[str]:
    """List the files of the data folder that may be meant by a field, by their endings."""
    endings = ENDINGS.get(field.name, (".h5", ".hdf5"))
    return [one.name for one in site.folder.files() if one.name.lower().endswith(endings)]


async def from_line(site: Site, text: str) -> Composed:
    """Open a command line as a form. Raises BadInputError where it is none that a page takes."""
    words = words_from(text)
    form = form_of(site.commands, words)
    values = values_of(form, words[len(form.path) :])
    return await _with_groups(site, form, _begun(site, form, values))


async def from_browser(site: Site, posted: Posted) -> Composed:
    """Read what a browser sends of a form. Raises BadInputError for a command that there is not."""
    form = form_of(site.commands, (list(posted("command")) or [""])[0].split())
    values = dict(values_from(form, posted))
    found = await _with_groups(site, form, _with_chip(form, values, posted))
    merged = dict(found.values)
    for field in (one for one in form.fields if one.role is Role.SETTINGS):
        groups = [group for group in found.groups if group.option == field.name]
        given = {
            one.key: (list(posted(input_of(group, one.key))) or [""])[-1].strip()
            for group in groups
            for one in group.settings
        }
        texts = [text for group in groups for text in changed(group, given)]
        merged[field.name] = (*texts, *found.other_settings(field))
    return await _with_groups(site, form, {name: value for name, value in merged.items() if value})


def input_of(group: Group, key: str) -> str:
    """Name the input of a setting: of another class it is another one, whose default may be another."""
    return f"s:{group.option}:{zlib.crc32(group.title.encode()):08x}:{key}"


def _begun(site: Site, form: Form, values: Values) -> Values:
    """Fill in what must be given, where a new form lacks it."""
    found = dict(values)
    for field in form.fields:
        if field.name in found:
            continue
        if field.name == "out" and (field.required or form.path[0] == "deploy"):
            found["out"] = (site.folder.fresh("-".join(form.path), field.suffix or ".h5"),)
        elif field.role is Role.CHIP and (field.required or form.path == ("program",)) and "fleet" not in found:
            found[field.name] = (FIRST_CHIP,)
        elif field.required and field.role is Role.INPUT and (files := fitting_files(site, field)):
            found[field.name] = (files[0],)
        elif field.required and field.role is Role.NETWORK:
            found[field.name] = (f"{rules.ZOO}{NETWORKS[0]}",)
    return found


async def _with_groups(site: Site, form: Form, values: Values) -> Composed:
    """Find the settings that the command takes with these values, and the options of its chip."""
    texts = {name: value[-1] for name, value in values.items() if value}
    groups: tuple[Group, ...] = ()
    if any(field.role is Role.SETTINGS for field in form.fields):
        told = await quietly(site.forms, "settings", {"words": list(form.path), "values": texts})
        groups = (
            tuple(Group.from_json(one) for one in told if isinstance(one, Mapping)) if isinstance(told, list) else ()
        )
    found = Composed(form, values, groups)
    field = found.chip_field
    return found if field is None else Composed(form, values, groups, await _options(site, found.text(field.name)))


async def _options(site: Site, uri: str) -> tuple[ChipOption, ...]:
    """Find the options of a simulated preset."""
    try:
        scheme, target, query = split_uri(uri)
    except BadInputError:
        return ()
    if scheme != SIMULATED:
        return ()
    told = await quietly(site.forms, "chip options", {"target": target})
    if not isinstance(told, list):
        return ()
    return tuple(_option(one, query) for one in told if isinstance(one, Mapping))


def _option(told: Mapping[str, Json], query: Mapping[str, str]) -> ChipOption:
    low, high, words = told["low"], told["high"], told["words"]
    name = str(told["name"])
    return ChipOption(
        name=name,
        value=query.get(name, ""),
        default=str(told["default"]),
        whole=bool(told["whole"]),
        low=float(low) if isinstance(low, int | float) else 0.0,
        high=float(high) if isinstance(high, int | float) else 0.0,
        words=tuple(map(str, words)) if isinstance(words, list) else (),
        unit=str(told["unit"]),
        help=str(told["help"]),
    )


def _with_chip(form: Form, values: dict[str, tuple[str, ...]], posted: Posted) -> Values:
    """Put the options of the chip into its URI, where its text was left as it was shown."""
    field = next((one for one in form.fields if one.role is Role.CHIP), None)
    if field is None or field.name not in values:
        return values
    uri = values[field.name][-1]
    if uri != (list(posted("uri-was")) or [""])[-1]:
        return values
    try:
        scheme, target, query = split_uri(uri)
    except BadInputError:
        return values
    for name in posted("uri-options"):
        text = (list(posted(f"u:{name}")) or [""])[-1].strip()
        if text:
            query[name] = text
        else:
            query.pop(name, None)
    told = "&".join(f"{name}={quote(text, safe='@+.,-')}" for name, text in query.items())
    return {**values, field.name: (f"{scheme}:{target}?{told}" if told else f"{scheme}:{target}",)}


async def checked(site: Site, composed: Composed) -> tuple[str, ...]:
    """Check that a form may be run, and name what it needs for itself.

    Raises
    ------
    BadInputError
        For what a page does not take, and for what the command would refuse at once.
    """
    form, values = composed.form, composed.values
    rules.check_values(form, values, site.folder)
    again = values_of(form, composed.words[len(form.path) :])  # an argument that is left out moves those behind it
    rules.check_values(form, again, site.folder)
    check(form, composed.words)
    for name in rules.inputs_of(form, values):
        if form.path != ("resume",):
            site.folder.file(name)
    out = composed.text("out") if form.out is not None else ""
    if out and site.folder.has(out) and "force" not in values and not _adds(form):
        raise BadInputError(f"out: '{out}' is there already; give another name, or tick 'force' to replace it")
    if any(job.asked.out == out for job in site.queue.open_jobs()) and out:
        raise BadInputError(f"out: another job writes '{out}'; give another name")
    if form.path == ("serve",):
        return (f"instrument of {rules.chip_of(composed.text('uri'))}, port {composed.text('port')}",)
    chips = rules.chips_of(form, values, site.folder)
    return chips or await _chips_of_files(site, rules.inputs_of(form, values))


def _adds(form: Form) -> bool:
    """Tell whether a command adds to a file that exists."""
    return form.path[0] == "measure"


async def _chips_of_files(site: Site, names: Sequence[str]) -> tuple[str, ...]:
    """Name the chips of files that a job reads; this computer where they name none."""
    found = []
    for name in names:
        told = await quietly(site.files, "chip of", {"path": name}) if site.folder.has(name) else ""
        if isinstance(told, str) and told:
            found.append(rules.chip_of(told))
    return tuple(dict.fromkeys(found)) or (rules.COMPUTER,)
