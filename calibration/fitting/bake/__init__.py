"""Baked resistive memory, as a family: see `hwloop.devices.bake` for the law."""

from hwloop.calibration.fitting.bake.family import Bake as Bake
from hwloop.calibration.fitting.bake.one_age import AfterWrite as AfterWrite
from hwloop.calibration.fitting.bake.one_age import OneAge as OneAge
from hwloop.calibration.fitting.bake.settings import BakeSettings as BakeSettings
from hwloop.calibration.fitting.bake.table import BakeTable as BakeTable
from hwloop.calibration.fitting.bake.table import bake_table as bake_table
