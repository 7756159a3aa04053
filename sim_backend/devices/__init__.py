"""The devices of a simulated core, a file for each kind: what pulses, time and temperature do to their conductances."""
