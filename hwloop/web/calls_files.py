"""Calls that put weights on chips, measure them, and read files, as text."""

from __future__ import annotations

from collections.abc import Mapping

from hwloop.web.calls import Given, Writer, call, literal, mapping, method, saved, with_chip

TASK = ("calibration", "inputs", "age", "seed")


def _program(given: Given) -> str:
    arguments = ["chip", given.python("weights"), method(given.text("method"), given.settings()), *mapping(given)]
    arguments += given.named(*TASK, "chip_seconds", "force", "out")
    return f"{with_chip(given, 'run', call('hwloop.program', arguments))}\nprint(run.mvm_error)"


def _compare(given: Given) -> str:
    settings: dict[str, dict[str, str]] = {}
    for key, value in given.settings().items():
        name, _, own = key.partition(".")
        settings.setdefault(name, {})[own] = value
    methods = ", ".join(method(name, settings.get(name, {})) for name in given.listed("methods"))
    arguments = ["chip", given.python("weights"), f"[{methods}]", *mapping(given)]
    arguments += given.named(*TASK, "repeats", "force", "out")
    return f"{with_chip(given, 'comparison', call('hwloop.compare', arguments))}\nprint(comparison)"


def _drift(given: Given) -> str:
    run = given.python("run")
    if given.has("network"):
        run = f"NetworkFile({run}, network_from({given.python('network')}))"
    arguments = [run, "chip" if given.has("backend") else "None", repr(given.listed("times"))]
    arguments += [repr(given.listed("compensation"))]
    arguments += given.named("calibration", "model", "limit", "probes", "seed", "force", "out")
    if given.has("dataset"):
        arguments.append(f"data=read_dataset({given.python('dataset')}).test")
    return f"{with_chip(given, 'study', call('hwloop.drift', arguments))}\nprint(study)"


def _calibrate(given: Given) -> str:
    part = given.form.path[-1]
    if part == "show":
        files = given.values.get("calibrations", ())
        return "\n".join(f"print(hwloop.load({one!r}))" for one in files)
    if part in ("check", "daily"):
        name, word = ("moved", "check") if part == "check" else ("calibration", "renew")
        body = call(f"known.{word}", ["chip", *given.named("seed")])
        known = f"known = hwloop.Calibration.load({given.python('calibration')})"
        kept = "" if part == "check" else saved(given, name)
        return f"{known}\n{with_chip(given, name, body)}{kept}\nprint({name})"
    parts = [] if part == "all" else [f"[{part!r}]"]
    if given.settings():
        parts = [f"plan_from({'PARTS' if part == 'all' else f'[{part!r}]'}, {given.settings()!r})"]
    arguments = ["chip", *parts, *given.named("cores", "seed", "out")]
    return f"{with_chip(given, 'calibration', call('hwloop.calibrate', arguments))}\nprint(calibration)"


def _several(given: Given, name: str) -> str:
    """Write numbers with commas between them."""
    return f"({', '.join(map(literal, given.listed(name)))},)"


def _measure(given: Given) -> str:
    own = [one.name for one in given.form.fields]
    apart = ("backend", "levels", "low", "high", "cores", "ages", "out", "resume", "force")
    renamed = {"max_pulses": "max_pulses_per_device", "age": "target_age"}
    plain = [name for name in own if name not in apart]
    arguments = ["chip", repr(given.form.path[-1])]
    if given.form.path[-1] == "programming-curve":
        arguments += given.named("low", "high")
    elif "," in given.text("levels"):
        arguments.append(f"levels=ListedLevels({_several(given, 'levels')})")
    elif given.has("low") or given.has("high"):
        levels = [literal(given.text("levels")), *given.named("low", "high")]
        arguments.append(f"levels=Levels({', '.join(levels)})")
    elif given.has("levels"):
        arguments.append(f"levels={literal(given.text('levels'))}")
    if given.has("cores"):
        arguments.append(f"cores={_several(given, 'cores')}")
    if given.has("ages"):
        arguments.append(f"ages=tuple(parse_durations({given.python('ages')}))")
    arguments += given.named(*plain, words=renamed)
    arguments += given.named("out")
    return f"{with_chip(given, 'measurement', call('hwloop.measure', arguments))}\nprint(measurement)"


def _import(given: Given) -> str:
    text = given.named("comment", "skip", "code_step", "sample_rate", "read_voltage", "shunt", "reverse_current")
    text += [f"where={tuple(given.values['where'])!r}"] if given.has("where") else []
    parts = [f"text=TextOptions({', '.join(text)})"] if text else []
    parts += given.read("Experiment", "experiment", "experiment")
    parts += given.named("split_by", "keep_non_positive") + given.read("parse_duration", "start_age", "start")
    parts += given.read("parse_duration", "interval", "interval")
    options = [f"options=ImportOptions({', '.join(parts)})"] if parts else []
    files = given.values.get("files", ())
    arguments = [repr(files[0]) if len(files) == 1 else given.python("files"), *given.named("columns")]
    body = call("hwloop.import_measurement", [*arguments, *options, *given.named("out", "force")])
    return f"measurement = {body}\nprint(measurement)"


def _fit(given: Given) -> str:
    arguments = [given.python("measurements"), *given.named("family", "hold_out", "force", "out")]
    return f"model = {call('hwloop.fit', arguments)}\nprint(model.params_)"


def _predict(given: Given) -> str:
    level = [f"parse_conductance({given.python('level')})"]
    arguments = [given.python("model"), f"parse_duration({given.python('time')})", *level]
    if given.has("window"):
        arguments.append(f"({', '.join(f'parse_conductance({end!r})' for end in given.listed('window'))})")
    return f"found = {call('hwloop.predict', [*arguments, *given.named('temperature', 'experiment')])}\nprint(found)"


def _evaluate(given: Given) -> str:
    arguments = [given.python("run"), *(["chip"] if given.has("backend") else [])]
    name = "evaluate"
    if given.has("times") or given.has("network"):  # which are for trainings
        name = "evaluate_trained"
        arguments += [f"times={given.listed('times')!r}"] if given.has("times") else []
        arguments += [f"network=network_from({given.python('network')})"] if given.has("network") else []
        told = ""
    else:
        told = "# of a training: hwloop.evaluate_trained in place of hwloop.evaluate\n"
        arguments += given.named("seed", "calibration")
    return f"{told}{with_chip(given, 'found', call(f'hwloop.{name}', arguments))}\nprint(found)"


def _export(given: Given) -> str:
    arguments = [given.python("file"), given.python("to"), given.python("out")]
    return call("hwloop.export", [*arguments, *given.named("tensor", "force")])


def _report(given: Given) -> str:
    return call("hwloop.report", [given.python("file"), given.python("out"), *given.named("force")])


def _resume(given: Given) -> str:
    arguments = [given.python("file"), *(["chip"] if given.has("backend") else [])]
    arguments += [f"network=network_from({given.python('network')})"] if given.has("network") else []
    return f"{with_chip(given, 'found', call('hwloop.resume', arguments))}\nprint(found)"


def _coreset(given: Given) -> str:
    settings = given.made("hwloop.CoresetSettings", "seed")
    arguments = [given.python("activations"), given.python("bits"), *settings]
    return f"found = {call('hwloop.coreset', arguments)}{saved(given, 'found')}\nprint(found)"


def _ledger(given: Given) -> str:
    if not given.has("chip"):
        return ""
    body = call("hwloop.ledger", [given.python("chip"), *given.named("merge")])
    return f"life = {body}{saved(given, 'life')}\nprint(life)"


def _show(given: Given) -> str:
    return f"print(hwloop.page_of({given.python('file')}))"


def _examples(given: Given) -> str:
    return call("hwloop.data.copy_examples", [given.python("folder"), *given.named("force")])


WEIGHTS = ("layout", "merge_lora", "tensor", "goal", "plot")
WRITERS: Mapping[str, Writer] = {
    "program": Writer(_program, (*WEIGHTS, "workers", "fleet", "dry_run")),
    "compare": Writer(_compare, WEIGHTS),
    "drift": Writer(_drift, ("plot",)),
    "calibrate": Writer(_calibrate, ("weights", "tensor", "layout", "inputs", "age", "force")),
    "measure": Writer(_measure, ("resume", "force")),
    "import": Writer(_import, ("append", "delimiter", "decimal")),
    "fit": Writer(_fit, ("figures",)),
    "predict": Writer(_predict),
    "evaluate": Writer(_evaluate),
    "export": Writer(_export),
    "report": Writer(_report),
    "resume": Writer(_resume, ("workers", "fleet", "plot")),
    "coreset": Writer(_coreset),
    "ledger": Writer(_ledger),
    "show": Writer(_show),
    "examples": Writer(_examples),
}
"""How each of these commands is written."""
