"""Compensation of drift, and the study of a programmed chip while it ages."""
