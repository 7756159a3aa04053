"""Figures and reports of runs, measurements and models."""
