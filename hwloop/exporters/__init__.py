"""Fitted models as source text for other simulators: `export` writes the file.

`content` says what an export contains, `formulas` is the code that all share, `aihwkit` and `crosssim` the rest.
"""
