"""Fast approximation of an MVM through resistive wires.

Wiring: row i is driven at its column-0 end; column j is sensed at its last row, at virtual ground; each segment of
wire between neighbouring cells (and before the first, and after the last) has the same resistance.

An ideal-wire cell contributes G to the column current per volt on its row. With wires it contributes G * a * b:
`a` is the voltage that arrives at the cell along its row when the columns are held at ground (a resistor ladder,
solved exactly), and `b` is, by reciprocity, the voltage at the cell along its column when the rows are held at
ground and the output is driven. Each factor alone is exact; the product neglects that a row loads the columns it
crosses and the other way round. tests/sim_backend/test_wires.py states the error against the exact nodal solution.
"""

from __future__ import annotations

from hwloop.devices.arrays import Array, namespace


def ladder_voltages(loads: Array, resistance: float, series: float = 0.0) -> Array:
    """Return voltages (m, n) along m resistor ladders driven with 1 V before node 0, each node loaded by loads (m, n).

    loads in siemens, resistance of each segment in ohm, `series` ohm more before the first one. The admittance seen
    from a node to the far end obeys Y_k = g_k + Y_{k+1} / (1 + r Y_{k+1}); each segment then divides the voltage by
    1 + r Y_k.
    """
    admittance = loads + 0.0
    for k in range(loads.shape[1] - 2, -1, -1):
        beyond = admittance[:, k + 1]
        admittance[:, k] += beyond / (1.0 + resistance * beyond)
    divided = 1.0 + resistance * admittance
    divided[:, 0] += series * admittance[:, 0]
    voltages: Array = namespace(loads).cumprod(1.0 / divided, 1)
    return voltages


def attenuation(conductance: Array, resistance: float, series: float = 0.0) -> Array:
    """Return the factor (2, rows, columns) by which wires lower each cell's contribution to its column.

    conductance: (2, rows, columns) in uS, positive and negative polarity, double precision. Both polarities of a cell
    hang on the same row wire; each has a column wire of its own. resistance: ohm per cell; series: ohm of each driver
    and of each sensing input.
    """
    xp = namespace(conductance)
    siemens = conductance * 1e-6
    along_rows = ladder_voltages(siemens.sum(0), resistance, series)
    columns = xp.swapaxes(xp.flip(siemens, (1,)), 1, 2)  # (2, columns, rows), from the sensed end upwards
    polarities, count, rows = columns.shape
    along_columns = ladder_voltages(columns.reshape(polarities * count, rows), resistance, series)
    along_columns = xp.flip(xp.swapaxes(along_columns.reshape(polarities, count, rows), 1, 2), (1,))
    factor: Array = along_rows * along_columns
    return factor
