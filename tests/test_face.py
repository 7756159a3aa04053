"""The public face: what `hwloop.<tab>` shows, what it costs to import, and the everyday tasks in three lines each."""

from __future__ import annotations

import importlib.metadata
import pydoc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hwloop

CHIP = "sim:hermes-core?rows=32&columns=32&seed=1"
RNG = np.random.default_rng(0)
W = np.clip(RNG.standard_normal((12, 16)), -3, 3)

COMMANDS = {
    "calibrate", "compare", "coreset", "drift", "evaluate", "export", "fewshot", "fit", "import_measurement", "measure",
    "predict", "program", "report", "retrain", "search_networks", "sensitivity",
}  # fmt: skip
RESULTS = {
    "Calibration",
    "Comparison",
    "Coreset",
    "DriftResult",
    "Evaluation",
    "FewShotResult",
    "Found",
    "Measurement",
    "Model",
    "Retrained",
    "Run",
    "Sensitivity",
}
METHODS = {"Exact", "GDP", "ProgramVerify", "SGD"}
WEIGHTS = {"MappingSettings", "Matrix", "load_weights", "matrices"}
BACKENDS = {"Backend", "Capability", "ChipInfo", "DeviceModel", "PulseKind", "PulseLimits", "Pulses"}
ERRORS = {
    "BadInputError", "CalibrationWarning", "ChipError", "ClosedError", "HwloopError", "InstrumentError", "LimitError",
    "LinkError", "MissingCapabilityError",
}  # fmt: skip
HEAVY = {"torch", "scipy", "numpy", "h5py", "matplotlib", "pandas", "click"}


def test_tab_shows_the_public_names_and_nothing_else() -> None:
    shown = {name for name in dir(hwloop) if not name.startswith("_")}
    assert shown >= {"connect", "load"} | COMMANDS | RESULTS | METHODS | WEIGHTS | BACKENDS | ERRORS
    assert not shown & {"annotations", "lazy_loader", "version", "cli", "jobs", "chip", "files", "calibration"}
    assert set(hwloop.__all__) == shown


def test_every_public_name_is_there_and_says_what_it_is() -> None:
    for name in hwloop.__all__:
        found = getattr(hwloop, name)
        assert found.__doc__, name
        assert found.__name__.rpartition(".")[2] == name
        assert getattr(found, "__module__", found.__name__).startswith("hwloop."), name


def test_help_names_them_all() -> None:
    text = pydoc.render_doc(hwloop, renderer=pydoc.plaintext)
    assert "A first session, on a simulated chip" in text
    assert [name for name in hwloop.__all__ if name not in text] == []


def test_the_version_is_that_of_the_installed_package() -> None:
    assert hwloop.__version__ == importlib.metadata.version("hwloop")


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        hwloop.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    "statement",
    [
        "import hwloop",
        "import hwloop; dir(hwloop); hwloop.__version__",
        "import hwloop; hwloop.BadInputError; hwloop.ChipError",
    ],
)
def test_importing_waits_for_nothing_heavy(statement: str) -> None:
    script = f"import sys\n{statement}\nheavy = {HEAVY!r} & set(sys.modules)\nassert not heavy, heavy\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_of_the_command_waits_for_nothing_heavy() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "hwloop", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & (HEAVY - {"click"})


# ---- everyday tasks, each in at most three lines from the top level ----------------------------------------------


@pytest.fixture
def chip():
    with hwloop.connect(CHIP) as opened:
        yield opened


def test_connect() -> None:
    with hwloop.connect("sim:hermes-core?seed=1") as chip:
        print(chip.info)
    assert (chip.info.rows, chip.info.columns) == (256, 256)


def test_program(chip: hwloop.Backend) -> None:
    run = hwloop.program(chip, W, hwloop.GDP(max_steps=30))
    print(run.mvm_error, run.tiles[0].pulses_per_device)
    assert 0.01 < run.mvm_error < 0.12


def test_save_and_load(chip: hwloop.Backend, tmp_path: Path) -> None:
    run = hwloop.program(chip, W, "exact")
    run.save(tmp_path / "run.h5")
    again = hwloop.load(tmp_path / "run.h5")
    assert again.mvm_error == run.mvm_error


def test_compare(tmp_path: Path) -> None:
    found = hwloop.compare(CHIP, W, ["gdp", "exact"], out=tmp_path / "cmp.h5")
    print(found.mvm_error("gdp") / found.noise_floor)
    assert hwloop.load(tmp_path / "cmp.h5").mvm_error("gdp") == found.mvm_error("gdp") > found.noise_floor


def test_evaluate(chip: hwloop.Backend) -> None:
    run = hwloop.program(chip, W)
    chip.wait(86400)
    print(hwloop.evaluate(run).mvm_error)
    assert hwloop.evaluate(run).mvm_error > 0.9 * run.mvm_error


def test_plot(chip: hwloop.Backend, tmp_path: Path) -> None:
    run = hwloop.program(chip, W)
    run.plot().figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_multiply_on_the_chip(chip: hwloop.Backend) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, (1024, 16))
    run = hwloop.program(chip, W, "exact")
    y = run.matmul(x)
    assert np.linalg.norm(y - x @ W.T) / np.linalg.norm(x @ W.T) == pytest.approx(run.mvm_error, rel=0.2)


def test_a_table(chip: hwloop.Backend) -> None:
    run = hwloop.program(chip, {"fc1": W, "fc2": W[:5]}, "exact")
    table = run.to_dataframe()
    assert table[["tensor", "core", "rows", "columns"]].to_numpy().tolist() == [["fc1", 0, 16, 12], ["fc2", 0, 16, 5]]


def test_progress(chip: hwloop.Backend) -> None:
    told = []
    hwloop.program(chip, W, hwloop.GDP(max_steps=6), progress=lambda done, total: told.append(done / total))
    assert told == sorted(told)
    assert (len(told), told[-1]) == (7, 1.0)


def test_calibrate(chip: hwloop.Backend, tmp_path: Path) -> None:
    cal = hwloop.calibrate(chip, ["devices", "adc"])
    cal.save(tmp_path / "chip.cal.h5")
    run = hwloop.program(chip, W, "exact", calibration=cal)
    assert hwloop.load(tmp_path / "chip.cal.h5").measured() == cal.measured()
    assert run.mvm_error < 0.12


def test_drift(chip: hwloop.Backend) -> None:
    run = hwloop.program(chip, W)
    study = hwloop.drift(run, chip, ["1d", "1y"], ["none", "column"])
    print(study.to_dataframe())
    assert study.courses["column"].mvm_error[1] < study.courses["none"].mvm_error[1]


def test_retrain(chip: hwloop.Backend, tmp_path: Path) -> None:
    network, y = torch.nn.Linear(16, 3), RNG.integers(0, 3, 200)
    made = hwloop.retrain(
        network, (RNG.standard_normal((200, 16)) + np.eye(3, 16)[y], y), chip, hwloop.Retraining(epochs=1)
    )
    made.save(tmp_path / "robust.safetensors")
    assert network.state_dict().keys() == made.network.state_dict().keys()


def test_sensitivity(chip: hwloop.Backend) -> None:
    network, y = torch.nn.Linear(16, 3), RNG.integers(0, 3, 100)
    settings = hwloop.SensitivitySettings(draws=2, doublings=1)
    found = hwloop.sensitivity(network, (np.eye(3, 16)[y], y), chip, settings)
    print(found.to_dataframe())
    assert [one.name for one in found.layers] == ["weight"]


def test_measure(chip: hwloop.Backend) -> None:
    measured = hwloop.measure(chip, "drift", cells=50, levels=4, until="1h")
    assert isinstance(measured, hwloop.Measurement)
    assert len(measured.cells) == 50


def test_fit(chip: hwloop.Backend, tmp_path: Path) -> None:
    model = hwloop.fit(hwloop.measure(chip, "read-noise", cells=400, levels=8, samples=128), "power-law")
    model.save(tmp_path / "model.json")
    with hwloop.connect(f"sim:{tmp_path / 'model.json'}?base=hermes-core&rows=8&columns=8") as twin:
        assert (twin.info.rows, twin.info.columns) == (8, 8)
    assert model.fits["read-noise"].family == "power-law"
    assert model.params_.keys() == model.intervals_.keys()


def test_fit_arrays_of_ones_own() -> None:
    """The bias and spread that programming was drawn with come back."""
    rng, target = np.random.default_rng(3), np.linspace(2.0, 25.0, 2000)
    reached = target + 0.5 + 0.8 * rng.standard_normal(target.size)
    model = hwloop.fit(hwloop.Measurement.of("programming", [25.0], [reached], target), "polynomial-2")
    params, intervals = model.params_["programming"], model.intervals_["programming"]
    assert params["bias.c0"] == pytest.approx(0.5, abs=0.2)
    assert intervals["sigma.c0"][0] < 0.8 < intervals["sigma.c0"][1]


def test_export(chip: hwloop.Backend, tmp_path: Path) -> None:
    model = hwloop.fit(hwloop.measure(chip, "programming", cells=400), "polynomial-2")
    print(hwloop.export(model, "aihwkit", tmp_path / "noise.py"))
    assert "aihwkit" in (tmp_path / "noise.py").read_text()


def test_import_measurements(tmp_path: Path) -> None:
    (tmp_path / "lab.csv").write_text("1,0,200000\n1,10,210000\n2,0,250000\n2,10,260000\n")
    measured = hwloop.import_measurement(tmp_path / "lab.csv", "cell,time[s],resistance[ohm]")
    assert isinstance(measured, hwloop.Measurement)
    assert len(measured.reads) == 4
    with pytest.raises(hwloop.BadInputError, match=r"none\.csv does not exist"):
        hwloop.import_measurement(tmp_path / "none.csv")


def test_load_says_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("of yesterday")
    (tmp_path / "notes.json").write_text("{}")
    for name, complaint in (
        ("notes.txt", r"notes\.txt is not a readable HDF5 file"),
        ("none.h5", r"none\.h5: no such file"),
        ("none.json", r"none\.json: no such file"),
        ("notes.json", r"notes\.json"),
        ("", "is a folder"),
    ):
        with pytest.raises(hwloop.BadInputError, match=complaint):
            hwloop.load(tmp_path / name)
