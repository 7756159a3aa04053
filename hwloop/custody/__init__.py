"""Who holds a file or a chip, and what the devices of a chip have received in their life.

`lock` gives one holder at a time the sole right to a file or a chip, `ledger` keeps the lifetime pulses of every chip
in a database, and `places` says where both lie. Nothing here knows what a chip or a run file is.
"""
