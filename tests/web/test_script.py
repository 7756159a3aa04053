"""The Python that a page shows does what its command line does: both are run, and their files are the same."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

import hwloop
from hwloop.cli import COMMANDS, main
from hwloop.web.fields import form_of, values_of
from hwloop.web.recipes import NEWEST, RECIPES, Recipe, recipe
from hwloop.web.script import python, words_from
from tests.conftest import gaussian

OF_ITSELF = ("run", "run_id", "result_json", "dates_json", "sha256", "checksum", "wall_seconds", "created")
"""What tells one file from another and is of no result."""
SMALL = {
    "data/digits_mlp.safetensors": "w.npy",
    "sim:hermes-core?seed=1": "sim:hermes-core?rows=16&columns=16&seed=1",
    "sim:hermes-core?seed=3": "sim:hermes-core?rows=32&columns=32&seed=3",
    "sim:hermes-core?seed=4&stuck_rate=0.01": "sim:hermes-core?rows=16&columns=16&seed=4",
    "1s,1h,1d,30d,1y": "1s,1h",
    "3": "1",
    "2000": "400",
}
FURTHER = {
    "compare": "--set iterative.max_steps=3 --set gdp.max_steps=3",
    "program": "--set max_steps=3",
    "deploy": "--images 20 --method exact",
    "fit": "--family log-clip",
}
"""Smaller words for the templates, and further ones."""
MLP = "--network hwloop.nn.zoo:digits_mlp --dataset data/digits.npz"
TRAINED = f"{MLP} --weights data/digits_mlp.safetensors"
OTHERS = (
    f"retrain {TRAINED} --backend sim:hermes-64 --epochs 1 --set oldest=1d --seed 2 --out OUT.safetensors",
    f"sensitivity {TRAINED} --backend sim:hermes-64 --set images=20 "
    "--set draws=2 --set doublings=3 --set halvings=1 --out OUT.h5",
    f"deploy {TRAINED} --backend sim:pcm-ideal?cores=8 --method exact --ranges percentile --replicas fc1=2 --seed 3 "
    "--images 10 --clip auto --age 1h --exclude fc2 --out OUT.h5",
    "search --dataset data/digits.npz --chip sim:hermes-64 --budget 2 --set epochs=1 --set twins=1 --set again=1 "
    "--set finalists=1 --set method=exact --params 16k --out OUT.h5 --weights-out OUT.safetensors",
    f"fewshot {TRAINED} --backend sim:hermes-64?seed=1 --sessions 1 --shots 2 --age 0 --method exact --out OUT.h5",
    "coreset data/digits.npz --bits 20000 --seed 1 --out OUT.npz",
)
"""Commands without a template, in small."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example data, of which there are few images, and a small matrix."""
    hwloop.data.copy_examples(tmp_path)
    with np.load(tmp_path / "data" / "digits.npz") as whole:
        few = {"images": whole["images"][:100], "labels": whole["labels"][:100]}
    np.savez(tmp_path / "data" / "digits.npz", **few, train_index=np.arange(60), test_index=np.arange(60, 100))
    np.save(tmp_path / "w.npy", gaussian(12, 16))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(line: str) -> str:
    """Write a command line in Python."""
    words = words_from(f"hwloop {line}")
    form = form_of(main, words)
    return python(form, values_of(form, words[len(form.path) :]), words)


def small(given: Recipe) -> str:
    """Write a template in small; OUT stands for its file without the ending."""
    words = [SMALL.get(word, word) for word in given.words]
    before = recipe(given.before)
    line = shlex.join([f"{given.before}.h5" if word == NEWEST and before else word for word in words])
    return f"{line} {FURTHER.get(given.name, '')} --out OUT{'.json' if given.name == 'fit' else '.h5'}"


def typed(line: str) -> None:
    main([*shlex.split(line)], standalone_mode=False)


def is_result(key: str, value: object) -> bool:
    """Tell whether something in a file is neither a moment nor what tells the file from others."""
    return key not in OF_ITSELF and not re.match(r"\d{4}-\d\d-\d\dT", str(value))


def content(path: Path) -> dict[str, object]:
    """Read all of a file but what is of this very file."""
    if path.suffix == ".json":
        return {name: value for name, value in json.loads(path.read_text()).items() if name not in OF_ITSELF}
    if path.suffix != ".h5":
        arrays = load_file(path) if path.suffix == ".safetensors" else np.load(path)
        return {name: np.asarray(arrays[name]).tolist() for name in arrays}
    found: dict[str, object] = {}

    def look(name: str, one: h5py.Group | h5py.Dataset) -> None:
        if name.endswith("provenance"):
            return
        own = {key: np.asarray(value).tolist() for key, value in one.attrs.items() if is_result(key, value)}
        found[name] = (own, one[()].tolist() if isinstance(one, h5py.Dataset) else None)

    with h5py.File(path) as file:
        file.visititems(look)
        look("/", file)
    return found


def run_both(line: str) -> None:
    """Run the Python and the command line, and compare the files that they write."""
    text = script(line.replace("OUT", "pasted"))
    assert "cli import main" not in text
    exec(compile(text, "script", "exec"), {})
    typed(line.replace("OUT", "typed"))
    files = sorted(Path().glob("pasted.*"))
    assert files
    for one in files:
        pasted, other = content(one), content(one.with_stem("typed"))
        assert pasted.keys() == other.keys()
        assert [name for name in pasted if repr(pasted[name]) != repr(other[name])] == []


@pytest.mark.parametrize("given", [one for one in RECIPES if one.name != "socket"], ids=lambda one: one.name)
def test_the_python_of_every_template_gives_the_file_of_its_command(place: Path, given: Recipe) -> None:
    before = recipe(given.before)
    if before is not None:
        typed(small(before).replace("OUT", before.name))
    run_both(small(given))


@pytest.mark.parametrize("line", OTHERS, ids=lambda line: line.split()[0])
def test_so_does_that_of_commands_without_a_template(place: Path, line: str) -> None:
    run_both(line)


def test_what_python_has_no_call_for_is_named_and_runs_the_command_line(place: Path) -> None:
    text = script("program w.npy --backend 'sim:hermes-core?rows=16&columns=16' --goal 0.9 --force --out run.h5")
    assert "# Python has no call with --goal, so it runs the command line." in text
    exec(compile(text, "script", "exec"), {})
    assert Path("run.h5").exists()


def test_commands_that_python_has_no_call_for() -> None:
    """All others have one for their usual options."""
    from hwloop.web.script import WRITERS

    assert set(COMMANDS) - set(WRITERS) == {"plot", "info", "backends", "discover", "serve", "web"}


def test_a_writer_names_parameters_that_its_command_has() -> None:
    from hwloop.web.script import WRITERS
    from tests.test_docs import all_commands

    known = {name: {str(one.name) for command in all_commands() for one in command.params} for name in WRITERS}
    for name, writer in WRITERS.items():
        assert set(writer.without) <= known[name], name


@pytest.mark.parametrize(
    "line",
    [
        "measure drift --backend sim:hermes-core --levels '1,print()' --out m.h5",
        "program w.npy --backend sim:hermes-core --set 'max_steps=print()' --out r.h5",
        "program w.npy --backend sim:hermes-core --set '*print(),a=1' --out r.h5",
        f"retrain {TRAINED} --backend sim:hermes-64 --set '*print(),a=1' --seed 'print()' --out r.safetensors",
        f"deploy {TRAINED} --backend sim:hermes-64 --replicas 'a=print()' --images 'print()' --out r.h5",
    ],
)
def test_nothing_that_is_given_becomes_code(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A link to a page may bring a form that somebody else has filled in."""
    import ast

    calls = [one for one in ast.walk(ast.parse(script(line))) if isinstance(one, ast.Call)]
    assert not any(isinstance(one.func, ast.Name) and one.func.id == "print" and not one.args for one in calls)
