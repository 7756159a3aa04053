"""The calibration of a chip: what to find out, the session that does it, its file, and how it is renewed."""
