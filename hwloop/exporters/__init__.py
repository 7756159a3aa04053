"""What others can use: `export` writes fitted models as source text for other simulators, `programmed` runs.

`content` says what an export of a model contains, `formulas` is the code that all share, `aihwkit` and `crosssim` the
rest; `tables` has the CSV of a run.
"""
