"""Matrix-vector products of a chip, and the converters that they go through."""

from __future__ import annotations

import reprlib
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from hwloop.chip import checks
from hwloop.chip.callers import one_caller
from hwloop.chip.checked import Checked
from hwloop.chip.info import Capability
from hwloop.errors import BadInputError, ChipError, LimitError
from hwloop.typing import CodeArray, FloatArray


class Products(Checked):
    """The part of `Backend` that multiplies, and sets the converters."""

    @final
    @one_caller
    def mvm(self, core: int, x: ArrayLike, columns: slice | None = None, transposed: bool = False) -> CodeArray:
        """Return signed output codes (batch, columns) for signed integer inputs x (batch, rows). Needs Capability.MVM.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        x
            (batch, rows).
        columns
            Neighbouring columns whose codes are wanted; None for all. A chip that is computed, or behind a link, may
            save the work for the others; what the wanted ones answer does not depend on it.
        transposed
            Let rows and columns change places, in all that is said here: inputs (batch, columns) drive the columns,
            and codes (batch, rows), all or a slice of them, are read from the rows. Needs Capability.TRANSPOSED_MVM.

        Raises
        ------
        BadInputError
            For inputs of another shape, or that are not integers: nothing is rounded; and for columns that are none.
        LimitError
            For inputs beyond `info.input_max`.
        """
        if not isinstance(transposed, bool):
            raise BadInputError(f"mvm: transposed must be True or False, not {reprlib.repr(transposed)}")
        if transposed:
            self.require(Capability.TRANSPOSED_MVM, "a transposed matrix-vector product")
        else:
            self.require(Capability.MVM, "a matrix-vector product")
        core = self._check_core(core)
        inputs = checks.mvm_inputs(self.info, x, transposed)
        wanted = checks.outputs_of_core(self.info, columns, transposed)
        count = wanted.stop - wanted.start
        before = self._clock_now()
        if transposed:
            codes = self._ask("mvm_transposed", self._mvm_transposed, core, inputs, wanted)
        elif count == self.info.columns:
            codes = self._ask("mvm", self._mvm, core, inputs)
        else:
            codes = self._ask("mvm", self._mvm_columns, core, inputs, wanted)
        self._counts.mvms += inputs.shape[0]
        self._counts.chip_seconds += self._clock_now() - before
        if codes.shape != (inputs.shape[0], count):
            raise ChipError(f"core {core}: expected {inputs.shape[0]} x {count} codes, got {codes.shape}")
        return codes

    @one_caller
    def set_adc_range(self, core: int, full_scale: float) -> None:
        """Set the full scale of a core's converters, uS. Needs Capability.ADC_RANGE.

        Raises
        ------
        LimitError
            Outside `info.adc_range`.
        """
        self.require(Capability.ADC_RANGE, "choosing the converter range")
        core = self._check_core(core)
        value = checks.real_number(full_scale, "converter range")
        low, high = self.info.adc_range
        if not low <= value <= high:
            raise LimitError(f"converter range {value:g} uS is outside {low:g} to {high:g} uS")
        self._ask("set_adc_range", self._set_adc_range, core, value)

    @one_caller
    def adc_range(self, core: int) -> float:
        """Return the converters' full scale, uS: a code of `info.code_max` stands for this column sum."""
        return self._ask("adc_range", self._adc_range, self._check_core(core))

    @final
    @one_caller
    def set_trims(self, core: int, offset: ArrayLike, gain: ArrayLike) -> None:
        """Write the trims of a core's column converters, rounded to the registers' steps. Needs Capability.TRIMS.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        offset
            (columns,) LSB, added to a column's output.
        gain
            (columns,) relative: a column's output is multiplied by 1 + gain, in MVMs and in device reads alike.
            `TrimLimits` says exactly where both act.

        Raises
        ------
        BadInputError
            For arrays of another shape.
        LimitError
            Before anything reaches the chip, for what is not finite or out of the registers' reach.
        """
        self.require(Capability.TRIMS, "writing converter trims")
        core = self._check_core(core)
        self._ask("set_trims", self._set_trims, core, *self._registers(core, offset, gain))

    @final
    @one_caller
    def trims(self, core: int) -> tuple[FloatArray, FloatArray]:
        """Return the trims in use, (columns,) each: offsets in LSB and relative gains. Needs Capability.TRIMS."""
        self.require(Capability.TRIMS, "reading converter trims")
        core = self._check_core(core)
        offset, gain = self._ask("trims", self._trims, core)
        if not all(v.shape == (self.info.columns,) and np.all(np.isfinite(v)) for v in (offset, gain)):
            raise ChipError(f"core {core}: the chip answered with missing or non-finite trims")
        return offset, gain

    @final
    @one_caller
    def set_read_mode(self, core: int, mode: str) -> None:
        """Choose how a core does its MVMs from now on, by name. Needs Capability.READ_MODE.

        Parameters
        ----------
        core
            Core of the chip, counted from 0.
        mode
            Name of one of `info.read_modes`, which also say what an MVM costs.

        Raises
        ------
        BadInputError
            For a mode that the chip does not have.
        """
        self.require(Capability.READ_MODE, "choosing a read mode")
        core = self._check_core(core)
        self._ask("set_read_mode", self._set_read_mode, core, checks.read_mode(self.info, mode).name)

    @final
    @one_caller
    def read_mode(self, core: int) -> str:
        """Return the name of the mode in which a core does its MVMs. Needs Capability.READ_MODE."""
        self.require(Capability.READ_MODE, "asking for the read mode")
        core = self._check_core(core)
        mode = self._ask("read_mode", self._read_mode, core)
        if mode not in [known.name for known in self.info.read_modes]:
            raise ChipError(f"core {core}: the chip is in a read mode '{mode}' that it does not tell of")
        return mode

    def _registers(self, core: int, offset: ArrayLike, gain: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return trims (columns,) as the registers hold them."""
        if self.info.trims is None:
            raise self._undeclared(Capability.TRIMS)
        return checks.trim_registers(self.info, self.info.trims, core, offset, gain)
