"""Every file that hwloop reads or writes: weights, runs, measurements, models.

`measurements` are tables of cells and reads in memory; `measurement_layout` names their columns on disk,
`measurement_reader` reads them, `measurement_writer` and `experiment_writer` write them. `output` is a file that a job
writes: under a lock, and in one step. `models` is what was fitted, `model_file` its file, `fitted_devices` the device
models that follow. `hdf5` is what all HDF5 files share, `runs` those of programming, `weights` trained weights,
`hashing` their fingerprints.
"""
