"""Calibration routines: each finds out one thing about a core, and says how well it knows it.

`base` says what they share; `devices`, `converters` (with the fits in `adc` and `dac`), `trims`, `wires`,
`programming_curve` (with `flank`, `typical_curve` and `device_curves`), `ranges` and `floor` are the routines. What
they find is in `results`, and all that is known of a core in `core`.
"""
