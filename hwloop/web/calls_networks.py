"""Calls that put networks on chips, train them for chips and on them, and seek them, as text."""

from __future__ import annotations

from collections.abc import Mapping

from hwloop.search.settings import first_of
from hwloop.web.calls import Given, Writer, call, literal, mapping, method, saved, with_chip


def _trained(given: Given) -> str:
    """Write the network with its weights."""
    return f"network = network_of({given.python('network')}, {given.python('weights')})"


def _exclude(given: Given) -> list[str]:
    return given.named("exclude")


def _deploy(given: Given) -> str:
    ranges = given.named("bound_management", "ranges", words={"ranges": "inputs"})
    network = [f"ranges=hwloop.RangeSettings({', '.join(ranges)})"] if ranges else []
    network += given.named("replica_use")
    told = ["test=data.test", f"input_ranges=read_input_ranges({given.python('weights')})", *mapping(given)]
    told += [f"network=hwloop.NetworkSettings({', '.join(network)})"] if network else []
    if given.has("replicas"):
        copies = (one.rpartition("=") for one in given.values["replicas"])
        told.append(f"replicas={{{', '.join(f'{path!r}: {literal(count)}' for path, _, count in copies)}}}")
    told += given.named("calibration", "age", "seed", "inputs", words={"inputs": "activations"})
    told.append(f"names=NetworkNames.of({', '.join(map(given.python, ('network', 'weights', 'dataset')))})")
    told += given.named("passes", "out", "force")
    sample = ", ".join([literal(given.text("images")), *given.named("seed")])
    arguments = ["network", "chip", f"data.sample({sample})", method(given.text("method"), given.settings())]
    body = call("hwloop.deploy", [*arguments, *_exclude(given), "settings=settings"])
    return "\n".join(
        (
            _trained(given),
            f"data = read_dataset({given.python('dataset')})",
            f"settings = {call('hwloop.Deployment', told)}",
            with_chip(given, "net", body),
            "print(net.tested)",
        )
    )


def _retrain(given: Given) -> str:
    arguments = ["network", given.python("dataset"), given.python("backend")]
    arguments += [*given.made("hwloop.Retraining", "epochs", "lr", "seed"), *_exclude(given)]
    body = call("hwloop.retrain", arguments)
    return f"{_trained(given)}\nretrained = {body}{saved(given, 'retrained')}\nprint(retrained)"


def _train(given: Given) -> str:
    training = given.made("hwloop.Training", "epochs", "lr", "seed", option="training")
    told = [f"training={one}" for one in training]
    told += [f"periphery={one}" for one in given.made("hwloop.Periphery", option="periphery")]
    told += [*_exclude(given), *given.named("calibration", "network", "dataset", "weights", "out", "force")]
    rule = given.python("algorithm")
    if given.settings():
        rule = f"rule_from({rule}, {given.settings()!r})"
    body = call("hwloop.train", ["job.make_network()", "job.dataset", "chip", rule, "job"])
    return f"job = {call('hwloop.TrainingJob', told)}\n{with_chip(given, 'trained', body)}\nprint(trained)"


def _sensitivity(given: Given) -> str:
    settings = given.made("hwloop.SensitivitySettings", "seed")
    if not given.has("deployed"):
        arguments = ["network", given.python("dataset"), given.python("backend"), *settings, *_exclude(given)]
        first, body = f"{_trained(given)}\n", f"found = {call('hwloop.sensitivity', arguments)}"
    else:
        opened = [given.python("deployed")]
        opened += [f"network=network_from({given.python('network')})"] if given.has("network") else []
        opened += ["chip=chip"] if given.has("backend") else []
        network = call("hwloop.load_network", opened)
        arguments = [network, *(f"settings={one}" for one in settings)]
        first, body = "", with_chip(given, "found", call("hwloop.sensitivity", arguments))
    return f"{first}{body}{saved(given, 'found')}\nprint(found)"


def _fewshot(given: Given) -> str:
    names = ("sessions", "ways", "shots", "dimension", "epochs", "age", "method", "seed")
    as_they_are = {"epochs": "0"} if given.has("weights") and not given.has("epochs") else {}
    settings = given.made("hwloop.FewShot", *names, option="", also=as_they_are)
    memory = given.made("hwloop.nn.MemorySettings", "seed")
    first = _trained(given)
    if not given.has("weights"):
        seed, made = literal(given.text("seed")), f"network = network_from({given.python('network')})"
        first = f"with seeded({seed}):  # start weights that are trained\n    {made}"
    arguments = ["network", given.python("dataset"), "chip", *settings, *(f"memory={one}" for one in memory)]
    body = with_chip(given, "found", call("hwloop.fewshot", arguments))
    return f"{first}\n{body}{saved(given, 'found')}\nprint(found)"


def _search(given: Given) -> str:
    budget = given.text("budget")
    first = {"first": str(first_of(int(budget)))} if budget.isdecimal() else {}
    settings = given.made("hwloop.search.SearchSettings", "budget", "seed", also=first)
    limits = given.read("counted", "params", "weights") + given.named("cores")
    limits += given.read("parse_duration", "latency", "latency")
    arguments = [given.python("dataset"), given.python("chip"), *given.named("space")]
    arguments += [f"settings={one}" for one in settings]
    arguments += [f"limits=hwloop.search.Limits({', '.join(limits)})"] if limits else []
    after = saved(given, "found") + saved(given, "found", "save_weights", "weights_out")
    return f"found = {call('hwloop.search_networks', arguments)}{after}\nprint(found)"


WRITERS: Mapping[str, Writer] = {
    "deploy": Writer(_deploy, ("goal",)),
    "retrain": Writer(_retrain),
    "train": Writer(_train, ("goal", "plot")),
    "sensitivity": Writer(_sensitivity),
    "fewshot": Writer(_fewshot, ("goal",)),
    "search": Writer(_search),
}
"""How each of these commands is written."""
