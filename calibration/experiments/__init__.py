"""Experiments on devices: routines over the contract that append what they read to a measurement file as they go.

One routine per experiment: `scheduled` (drift, programming), `read_noise`, `programming_curve`. What they share:
`clock` stamps every pulse and read, `cells` chooses devices and targets, `target_programming` brings them there, `base`
is their interface.
"""
