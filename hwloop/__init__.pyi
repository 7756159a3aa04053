"""The names of the public face and where they live, for type checkers and for loading each on its first use."""

from . import data as data
from . import nn as nn
from . import optim as optim
from . import plot as plot
from . import search as search
from .calibration.certificate.certificate import Calibration as Calibration
from .calibration.coresets import CoresetSettings as CoresetSettings
from .calibration.programming.exact import Exact as Exact
from .calibration.programming.gdp import GDP as GDP
from .calibration.programming.program_verify import ProgramVerify as ProgramVerify
from .calibration.programming.sgd import SGD as SGD
from .chip.backend import Backend as Backend
from .chip.info import (
    Capability as Capability,
)
from .chip.info import (
    ChipInfo as ChipInfo,
)
from .chip.info import (
    PulseLimits as PulseLimits,
)
from .chip.pulses import PulseKind as PulseKind
from .chip.pulses import Pulses as Pulses
from .chip.registry import connect as connect
from .chip.updates import PulseTrains as PulseTrains
from .devices.model import DeviceModel as DeviceModel
from .errors import (
    BadInputError as BadInputError,
)
from .errors import (
    CalibrationWarning as CalibrationWarning,
)
from .errors import (
    ChipError as ChipError,
)
from .errors import (
    ClosedError as ClosedError,
)
from .errors import (
    HwloopError as HwloopError,
)
from .errors import (
    InstrumentError as InstrumentError,
)
from .errors import (
    LedgerError as LedgerError,
)
from .errors import (
    LimitError as LimitError,
)
from .errors import (
    LinkError as LinkError,
)
from .errors import (
    MissingCapabilityError as MissingCapabilityError,
)
from .files.measurements import Measurement as Measurement
from .files.models import Model as Model
from .files.weights import load_weights as load_weights
from .jobs.calibrate import calibrate as calibrate
from .jobs.compare import Comparison as Comparison
from .jobs.compare import compare as compare
from .jobs.coreset import Coreset as Coreset
from .jobs.coreset import coreset as coreset
from .jobs.deploy import Deployment as Deployment
from .jobs.deploy import deploy as deploy
from .jobs.drift import drift as drift
from .jobs.drift_result import DriftResult as DriftResult
from .jobs.evaluate import Evaluation as Evaluation
from .jobs.evaluate import evaluate as evaluate
from .jobs.evaluate_trained import TrainedEvaluation as TrainedEvaluation
from .jobs.evaluate_trained import evaluate_trained as evaluate_trained
from .jobs.export import export as export
from .jobs.fewshot import FewShotResult as FewShotResult
from .jobs.fewshot import fewshot as fewshot
from .jobs.fit import fit as fit
from .jobs.import_measurement import import_measurement as import_measurement
from .jobs.ledger import Life as Life
from .jobs.ledger import ledger as ledger
from .jobs.load import load as load
from .jobs.measure import measure as measure
from .jobs.network import load_network as load_network
from .jobs.predict import predict as predict
from .jobs.program import program as program
from .jobs.resume import resume as resume
from .jobs.retrain import Retrained as Retrained
from .jobs.retrain import retrain as retrain
from .jobs.run import Run as Run
from .jobs.search import search_networks as search_networks
from .jobs.search_result import Found as Found
from .jobs.sensitivity import Sensitivity as Sensitivity
from .jobs.sensitivity import sensitivity as sensitivity
from .jobs.train import TrainingJob as TrainingJob
from .jobs.train import open_trained as open_trained
from .jobs.train import train as train
from .jobs.trained import Trained as Trained
from .jobs.training_study import StudyPlan as StudyPlan
from .jobs.training_study import TrainingStudy as TrainingStudy
from .jobs.training_study import training_study as training_study
from .mapping.activations import Sample as Sample
from .mapping.matrix import Matrix as Matrix
from .mapping.matrix import matrices as matrices
from .mapping.sharing import MappingSettings as MappingSettings
from .nn.in_memory.network import AnalogNetwork as AnalogNetwork
from .nn.in_memory.settings import Periphery as Periphery
from .nn.memory.few_shot import FewShot as FewShot
from .nn.network import DeployedNetwork as DeployedNetwork
from .nn.ranges import RangeSettings as RangeSettings
from .nn.retraining import Retraining as Retraining
from .nn.sensitivity import SensitivitySettings as SensitivitySettings
from .nn.settings import NetworkSettings as NetworkSettings
from .optim.settings import Training as Training
from .pages.html import report as report
from .pages.opening import page_of as page_of
from .pages.page import Page as Page

__version__: str
