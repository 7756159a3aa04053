"""Whole jobs: weights onto a chip, methods side by side, and what a chip holds now."""
