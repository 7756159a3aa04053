"""The built-in simulated chip: pulse-level phase-change devices behind DACs, wires and column ADCs."""
