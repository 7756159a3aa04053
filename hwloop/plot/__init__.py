"""Figures of runs, drift studies and fits."""
