"""Code that all exports share: the header, the fitted formulas, and the statements that draw from them.

Simulators differ only in the words of their array library.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from hwloop.devices.bake import BakeLaw
from hwloop.devices.splines import LogSpline, Spline
from hwloop.devices.statistics import G_FLOOR, Knots, LogClip, Polynomial, PowerLaw, Statistic
from hwloop.errors import BadInputError
from hwloop.exporters.content import USABLE, Content
from hwloop.files.fitted_devices import bake_law, is_bake, read_noise_model, relaxation_law, time_law
from hwloop.files.models import Fit
from hwloop.units import BOLTZMANN


@dataclass(frozen=True)
class Words:
    """How a simulator writes what is computed for every element of an array."""

    module: str
    """Has exp, log and where."""
    tables: str
    """Has exp and arange while the module is imported, which the other may not."""
    normal: str
    """A standard normal number per element of {like}."""
    uniform: str
    """A number between 0 and 1 per element of {like}."""
    student: str
    """Student's t with {freedom} degrees of freedom."""
    look_up: str
    """The function `_look_up` of what `_tabulated` returns."""


def header(content: Content, simulator: str, usage: list[str]) -> str:
    """Write what the module says of itself, with the lines by which it is used."""
    model, (start, why) = content.model, content.start
    fits = "".join(
        f"    {fit.experiment}: {fit.family}, {fit.cells.used} cells, measured from {fit.conductance_range[0]:.3g} to "
        f"{fit.conductance_range[1]:.3g} uS\n"
        for fit in content.fits
    )
    missing = [kind for kind in USABLE if kind not in model.fits]
    return (
        f'"""{simulator}, fitted by hwloop {model.hwloop_version} ({content.file}, {model.created}).\n\n'
        + "".join(f"    {line}\n" for line in usage)
        + "\nConductances in uS, times in seconds; nothing is known of conductances that were not measured.\n"
        + f"Time 0 is an age of {start:.3g} s, {why}.\n"
        + f"Fitted:\n{fits}"
        + (f"Not fitted, and so not applied: {', '.join(missing)}.\n" if missing else "")
        + '"""\n\n'
    )


def constants(content: Content) -> str:
    """Write the numbers that the formulas need, each with its unit."""
    rows = [
        f"G_MAX = {content.g_max!r}  # uS, of the largest weight",
        f"LARGEST = {content.largest!r}  # uS: beyond, nothing was measured",
        f"START = {content.start[0]!r}  # s, age of the devices at time 0",
    ]
    if fit := content.programming:
        rows.append(f"PROGRAMMING_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
    if content.programming and content.heavy_tails:
        rows.append(f"PROGRAMMING_FREEDOM = {2 + content.programming.value('tail')!r}  # of Student's t")
    if fit := content.drift:
        rows.append(f"DRIFT_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
    if content.drift and is_bake(content.drift):
        rows += _bake_constants(bake_law(content.drift))
    elif content.drift and content.relaxes:
        law = relaxation_law(content.drift)
        rows += [
            f"STAY_FREEDOM, MOVE_FREEDOM = {law.freedom!r}  # of Student's t",
            f"WARP = {law.warp!r}  # uS: changes are those of y = G + WARP ln G",
            f"EXPONENT = {law.exponent!r}  # of the growth of widths and hazard",
            f"FIRST_AGE, CLOCK = {law.first_age!r}, {law.clock!r}  # s, ages of the first reads and of those after",
        ]
    if fit := content.noise:
        rows.append(f"NOISE_SCALE = {fit.settings['g_scale']!r}  # uS, where g = 1")
        rows.append(f"T_READ = {content.t_read!r}  # s, duration of a read; assumed: no spectrum shows it")
    return "\n".join(rows) + "\n\n\n"


def _bake_constants(law: BakeLaw) -> list[str]:
    coldest, (low, high) = min(kelvin for kelvin, _ in law.measured), law.ends
    return [
        f"TEMPERATURE = {coldest!r}  # K, of the devices from time 0 on; set it to that of yours",
        f"ENERGY, REFERENCE = {law.energy!r}, {law.reference!r}  # eV; K, at which equivalent times are stated",
        f"MILDEST, HARDEST = {low!r}, {high!r}  # log10 of equivalent seconds of the measured bakes",
        f"BAKES = {law.knots!r}  # places of those between mildest (0) and hardest (1) at which curves are known",
        f"SHORTEST = {law.clock!r}  # s, of the measured bakes",
        f"STAY_FREEDOM, MOVE_FREEDOM = {law.freedom!r}  # of Student's t",
        f"WARP = {law.warp!r}  # uS: changes are those of y = G + WARP ln G",
    ]


LINES = '''\
def _lines(x, at, values):
    """Straight lines through (at[k], values[k]), flat beyond both ends."""
    result = values[0] + 0.0 * x
    for k in range(len(at) - 1):
        result = result + (values[k + 1] - values[k]) * ((x - at[k]) / (at[k + 1] - at[k])).clip(0.0, 1.0)
    return result


'''


PIECES = '''\
def _pieces(x, first, pieces):
    """first, plus a u + b u^2 + c u^3 of every piece (start, width, (a, b, c)), with u from 0 to 1 along it."""
    result = first + 0.0 * x
    for start, width, (a, b, c) in pieces:
        u = ((x - start) / width).clip(0.0, 1.0)
        result = result + u * (a + u * (b + u * c))
    return result


'''


TABULATED = '''\
def _tabulated(function, low, high):
    """A function of ln g, flat beyond both ends: where its table begins, values 1/256 apart, and their differences."""
    at = low + {module}.arange(0.0, high - low + 2 / 256, 1 / 256, dtype={module}.float64)
    values = function(at)
    return low, values[:-1], values[1:] - values[:-1]


'''


def statistic_code(statistic: Statistic, words: Words, table: str) -> str:
    """Write a statistic as an expression of the array `g`; `table` is the name of its table where it has one."""
    ln_g = f"{words.module}.log(g.clip({G_FLOOR!r}, None))"
    if isinstance(statistic, LogClip):
        return f"({statistic.slope!r} * {ln_g} + {statistic.offset!r}).clip({statistic.low!r}, {statistic.high!r})"
    if isinstance(statistic, PowerLaw):
        power = f"g.clip({G_FLOOR!r}, None) ** {statistic.exponent!r}"
        return f"({statistic.scale!r} * {power}).clip(None, {statistic.cap!r})"
    if isinstance(statistic, Polynomial):
        *lower, last = (*statistic.coefficients, 0.0) if len(statistic.coefficients) == 1 else statistic.coefficients
        return functools.reduce(lambda inner, c: f"({c!r} + g * {inner})", reversed(lower), repr(last))
    if isinstance(statistic, Knots | Spline | LogSpline):
        return f"_look_up({ln_g}, *{table})"
    raise BadInputError(f"a {type(statistic).__name__} statistic has no export")


def table_code(statistic: Statistic, words: Words, table: str) -> str:
    """Write the table of a statistic that goes through knots; nothing for one that is a formula."""
    curve, wrap = (
        (statistic.logs, f"{words.tables}.exp({{}})") if isinstance(statistic, LogSpline) else (statistic, "{}")
    )
    if isinstance(curve, Knots):
        expression = f"_lines(x, {curve.at!r}, {curve.values!r})"
    elif isinstance(curve, Spline):
        pieces = "".join(f"        {piece!r},\n" for piece in curve.pieces())
        expression = f"_pieces(x, {curve.values[0]!r}, (\n{pieces}    ))"
    else:
        return ""
    return (
        f"{table} = _tabulated(\n    lambda x: {wrap.format(expression)},\n    {curve.at[0]!r}, {curve.at[-1]!r},\n)\n"
    )


def formulas_code(content: Content, words: Words) -> tuple[str, str]:
    """Write what was fitted as functions of g = G / scale: tables for the module, and static methods for its class."""
    rows: list[tuple[str, str, Statistic]] = []
    if fit := content.programming:
        error = "of a relaxed device's conductance less its target, g = target / PROGRAMMING_SCALE"
        for name, what in (("bias", "Mean"), ("sigma", "Standard deviation")):
            rows.append((f"programming_{name}", f"{what} (uS) {error}.", fit.statistic(name)))
    if (fit := content.programming) and content.verified:
        for name, what in (
            ("head_start", "E-folds of age by which drift is part of programming errors"),
            ("spread_left", "Share of the variance of drift coefficients among accepted devices"),
        ):
            rows.append((name, f"{what}, g = target / PROGRAMMING_SCALE.", fit.statistic(name)))
    if (fit := content.drift) and content.relaxes:
        for name in fit.forms:
            meaning = f"Of the mixture: {name.replace('_', ' ')}, g = first conductance / DRIFT_SCALE."
            rows.append((f"relaxation_{name}", meaning, fit.statistic(name)))
    elif fit:
        for name, what in (("mean", "Mean"), ("spread", "Standard deviation")):
            meaning = f"{what} of the drift coefficient, g = conductance before drift / DRIFT_SCALE."
            rows.append((f"drift_{name}", meaning, fit.statistic(name)))
    if noise := read_noise_model(content.model, content.t_read):
        law = "sigma / G = Q sqrt(ln((age + t_read) / (2 t_read))), g = G / NOISE_SCALE"
        rows.append(("read_noise_q", f"Q of the read noise, {law}.", noise.q))
    tables = "\n\n".join(filter(None, (table_code(statistic, words, name.upper()) for name, _, statistic in rows)))
    functions = LINES * ("_lines(" in tables) + PIECES * ("_pieces(" in tables)
    if tables:
        functions += TABULATED.format(module=words.tables) + words.look_up
    return functions + tables + "\n\n" * bool(tables), "".join(
        f'\n    @staticmethod\n    def {name}(g):\n        """{meaning}"""\n'
        f"        return {statistic_code(statistic, words, name.upper())}\n"
        for name, meaning, statistic in rows
    )


def method(name: str, arguments: str, meaning: str, lines: list[str]) -> str:
    """Write a method of a class."""
    body = "".join(f"        {line}\n" for line in lines)
    return f'\n    def {name}(self, {arguments}):\n        """{meaning}"""\n{body}'


def programmed(content: Content, words: Words) -> list[str]:
    """Write statements that make `programmed` (uS) of `target` (uS)."""
    if not content.programming:
        return ["programmed = target + 0.0"]
    draw = words.normal.format(like="target")
    if content.heavy_tails:
        unit = "((PROGRAMMING_FREEDOM - 2) / PROGRAMMING_FREEDOM) ** 0.5"
        draw = f"{words.student.format(freedom='PROGRAMMING_FREEDOM', like='target')} * {unit}"
    return [
        "g = target / PROGRAMMING_SCALE",
        "sigma = self.programming_sigma(g).clip(0.0, None)",
        f"programmed = target + self.programming_bias(g) + sigma * {draw}",
    ]


def _grown(words: Words) -> list[str]:
    """Write statements that make the numbers of both kinds of cells of a relaxation."""
    m = words.module

    def grown(name: str) -> str:
        growth = f"(1 + {m}.exp(self.relaxation_{name}_growth(g)) * decades)"
        return f"{name} = {m}.exp(self.relaxation_{name}(g)) * {growth} ** EXPONENT"

    def shifted(name: str) -> str:
        return f"{name} = self.relaxation_{name}(g) + self.relaxation_{name}_growth(g) * decades"

    return [
        "decades = math.log10((FIRST_AGE + time + CLOCK) / (FIRST_AGE + CLOCK))",
        *(grown(name) for name in ("hazard", "stay_width", "move_width")),
        *(shifted(name) for name in ("stay_shift", "move_shift")),
        f"skew = {m}.exp(self.relaxation_move_skew(g))",
    ]


def _baked(words: Words, law: BakeLaw) -> list[str]:
    """Write the same of bakes."""
    m, boltzmann = words.module, f"({BOLTZMANN!r} * math.log(10))"

    def curve(name: str) -> str:
        return " + ".join(f"weights[{b}] * self.relaxation_{name}_{b}(g)" for b in range(len(law.knots)))

    return [
        "age = START + time",
        f"faster = (1 / REFERENCE - 1 / TEMPERATURE) * ENERGY / {boltzmann}",
        "place = (math.log10(age) + faster - MILDEST) / max(HARDEST - MILDEST, 1e-9)",
        "weights = [1.0] + [0.0] * (len(BAKES) - 1)",
        "for k in range(len(BAKES) - 1):  # lines between bakes, the last of which goes on",
        "    share = max((place - BAKES[k]) / (BAKES[k + 1] - BAKES[k]), 0.0)",
        "    share = share if k == len(BAKES) - 2 else min(share, 1.0)",
        "    weights[k], weights[k + 1] = weights[k] - share, weights[k + 1] + share",
        "begun = min(math.log10(1 + 9 * age / SHORTEST), 1.0)",
        *(f"{name} = {m}.exp({curve(name)}) * begun" for name in ("hazard", "stay_width", "move_width")),
        *(f"{name} = ({curve(name)}) * begun" for name in ("stay_shift", "move_shift")),
        f"skew = {m}.exp({curve('move_skew')})",
    ]


def relaxed(words: Words, content: Content) -> list[str]:
    """Write statements that make `drifted` (uS) of `g_prog` (uS) at `time` (s)."""
    m, fit = words.module, content.drift
    stay, move = (words.student.format(freedom=f"{who}_FREEDOM", like="g") for who in ("STAY", "MOVE"))
    return [
        "if time <= 0:",
        "    return g_prog",
        f"first = g_prog.clip({G_FLOOR!r} * DRIFT_SCALE, None)",
        "g = first / DRIFT_SCALE",
        *(_baked(words, bake_law(fit)) if fit is not None and is_bake(fit) else _grown(words)),
        f"stays = stay_shift + stay_width * {stay}",
        f"lower = {words.uniform.format(like='g')} < skew / (skew + 1 / skew)",
        f"moves = move_shift + move_width * {m}.where(lower, -skew, 1 / skew) * {m}.abs({move})",
        f"moving = {words.uniform.format(like='g')} < 1 - {m}.exp(-hazard)",
        f"y = first + WARP * {m}.log(first) + {m}.where(moving, moves, stays)",
        f"log_g = {m}.where(y > 1, {m}.log(y.clip(1, None)), (y / WARP).clip(None, 0))",
        "for _ in range(8):  # of y = G + WARP ln G",
        f"    over = {m}.exp(log_g) + WARP * log_g - y",
        f"    log_g = log_g - over / ({m}.exp(log_g) + WARP)",
        f"return {m}.exp(log_g)",
    ]


def lost(nu: str, drift: Fit, time: str) -> list[str]:
    """Write statements that make `ln_lost`, ln(G / G(START)) at `time` (s), of a drift that is no power law."""
    law, t0 = time_law(drift), drift.settings["t0"]
    now, then = (
        f"math.log(({age} + {law.onset * t0!r}) / {t0 * (1 + law.onset)!r})" for age in (f"START + {time}", "START")
    )
    return [
        f"now, then = {now}, {then}",
        f"bent = {law.curvature!r} * (now**2 - then**2)",
        f"ln_lost = -{nu} * (now - then + bent) - {law.bend!r} * (now**2 - then**2)",
    ]


def coefficients(content: Content, place: str) -> list[str]:
    """Write statements that return a drift coefficient for every element of `conductance` (uS).

    `place`, standard normal, says how many spreads each lies from the mean. Where a part of it is known to be in the
    programming error of a device with a `target`, it is what is left.
    """
    lines = ["g = conductance / DRIFT_SCALE"]
    if content.verified:
        lines = [
            "g = target / PROGRAMMING_SCALE",
            "sigma = self.programming_sigma(g).clip(1e-6, None)",
            "error = ((conductance - target - self.programming_bias(g)) / sigma).clip(-6.0, 6.0)",
            "left = self.spread_left(g).clip(0.01, 1.0) ** 0.5  # of the spread: verification narrows it",
            "drifted = self.head_start(g) * self.drift_spread(target / DRIFT_SCALE) * target  # uS, a spread of it",
            "share = (-drifted / (sigma * left)).clip(-1.0, 1.0)",
            f"place = left * (share * error + (1 - share**2) ** 0.5 * {place})",
            *lines,
        ]
        place = "place"
    return [*lines, f"return self.drift_mean(g) + self.drift_spread(g) * {place}"]


def noisy(words: Words, t_read: str) -> list[str]:
    """Write statements that return one read at `time` (s) of `conductance` (uS), once programmed to `g_prog` (uS).

    Relative noise is a matter of what a device was programmed to; drift leaves it as it is (Joshi et al., Nature
    Communications 11, 2473, 2020).
    """
    return [
        f"growth = math.sqrt(math.log((START + time + {t_read}) / (2 * {t_read})))",
        "sigma = conductance * self.read_noise_q(g_prog / NOISE_SCALE) * growth",
        f"return conductance + sigma * {words.normal.format(like='conductance')}",
    ]


def undrifted(words: Words, drift: Fit) -> list[str]:
    """Write statements that return what devices of `conductance` (uS) at `time` (s) had before the drift of most."""
    nu = "self.drift_mean(g_prog / DRIFT_SCALE)"
    if time_law(drift).plain:
        grown = [f"    g_prog = conductance * ((START + time) / START) ** {nu}"]
    else:
        grown = [
            *(f"    {line}" for line in lost(nu, drift, "time")),
            f"    g_prog = conductance * {words.module}.exp(-ln_lost)",
        ]
    return [
        "g_prog = conductance",
        "for _ in range(8):  # the coefficient is that of the conductance before",
        *grown,
        "return g_prog",
    ]
