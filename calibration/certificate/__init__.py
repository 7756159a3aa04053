"""The calibration of a chip: what to find out, the session that does it, its file, and how it is kept true.

`plan` says what is asked for, `session` runs the routines, `certificate` is the result, with `identity`, `validity` and
the `layout` of its file. `renewal` measures the converters afresh, `check` tells what has moved, and `use` is for jobs
that work through a calibration.
"""
