"""Real chips behind an instrument interface, through pyvisa."""
