"""Calibration routines: each finds out one thing about a core, and says how well it knows it."""
