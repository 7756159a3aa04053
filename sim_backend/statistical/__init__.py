"""The statistical simulated chip: cells drawn from what programming by pulses leaves, for networks and error bars."""
