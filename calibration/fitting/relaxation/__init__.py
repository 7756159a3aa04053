"""Relaxation of resistive memory, as families: see `hwloop.devices.relaxation` for the law."""

from hwloop.calibration.fitting.relaxation.family import Relaxation as Relaxation
from hwloop.calibration.fitting.relaxation.family import SublinearRelaxation as SublinearRelaxation
from hwloop.calibration.fitting.relaxation.settings import RelaxationSettings as RelaxationSettings
from hwloop.calibration.fitting.relaxation.table import RelaxationTable as RelaxationTable
from hwloop.calibration.fitting.relaxation.table import relaxation_table as relaxation_table
