"""Every file that hwloop reads or writes: weights, runs, measurements, models."""
