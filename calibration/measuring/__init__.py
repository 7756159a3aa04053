"""Measuring devices: routines over the contract that append what they read to a measurement file as they go.

One routine per experiment: `scheduled` (drift, programming), `read_noise`, `curve`. What they share: `timing` stamps
every pulse and read, `cells` chooses devices and targets, `placing` brings them there, `routine` is their interface.
"""
