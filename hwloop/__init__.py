"""hwloop programs, calibrates and measures analog in-memory computing chips built from phase-change memory.

A first session, on a simulated chip::

    import hwloop

    chip = hwloop.connect("sim:hermes-core?seed=1")
    run = hwloop.program(chip, "weights.npy", hwloop.GDP(max_steps=30))
    print(run.mvm_error, run.matmul(x))

What there is
-------------
connect, load
    Open a chip by its URI; read any file that hwloop writes.
calibrate, program, compare, evaluate, drift
    Find out what a chip is, put weights on it, see how well they sit, and for how long.
retrain, sensitivity
    Train a network for a chip, with its noise; find out how much of each nonideality it bears.
Retraining, SensitivitySettings
    Their settings.
train, open_trained
    Train a network on the devices of a chip that steps up and down, and open one that was trained.
Training, TrainingJob, Periphery
    Their settings.
fewshot, FewShot
    Learn classes from few examples in sessions, in a memory on the chip; its settings.
coreset, Coreset, CoresetSettings, Sample
    Summarise activations by few weighted vectors, for whatever takes activations; what comes of it, and its settings.
search_networks, Found
    Find networks that fit a chip, by evolution on its twins; what comes of it.
search
    Spaces of networks and the settings of a search: `hwloop.search.resnet_like`, `hwloop.search.SearchSettings`.
nn, optim
    The parts of it, for a training loop of your own: `hwloop.nn.analog` and the optimisers; and
    `hwloop.nn.ExplicitMemory`, which a chip writes from examples.
ledger
    What the devices of a chip have received in their life.
measure, import_measurement, fit, export
    Measure devices, bring measurements made elsewhere, fit noise and drift models, hand them to other tools.
report, page_of, plot
    Write one HTML page about any file or result; what is on it, in Python; the figures, one function each.
data
    Small trained networks, the images to test them on, and a measurement: `hwloop.data.path("digits.npz")`.
GDP, ProgramVerify, SGD, Exact
    Programming methods with their settings.
Backend, ChipInfo, Capability, Pulses, PulseKind, PulseLimits, DeviceModel and the errors
    For authors of backends; see docs/backends.md.

Every command of ``hwloop --help`` is one call of these. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import logging
from importlib.metadata import version

import lazy_loader

__version__ = version("hwloop")
logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent until its user gives it a handler
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
