"""Instrument classes of pymeasure and QCoDeS as instruments of a bench."""
