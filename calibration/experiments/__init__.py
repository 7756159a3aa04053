"""Experiments on devices: what is measured, as settings, and the steps that append reads to a measurement file.

One file per experiment: `drift`, `programming`, `programming_curve`, `read_noise`. What they share: `base` is their
interface, `bench` the chip that they measure, `clock` stamps every pulse and read, `cells` chooses devices and target
conductances, `target_programming` brings devices there, `scheduled_reads` reads them at planned ages.
"""
