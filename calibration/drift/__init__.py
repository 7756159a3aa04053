"""Compensation of drift, and the study of a programmed chip while it ages.

compensation     a gain and an offset per column, with when, where and from what they were made
programmed_tile  a tile whose time goes on: what every compensation starts from
strategy         the ways to make one, and chains of them; registry finds them by name
digital          none, global factor, gain and offset per column
predictive       gains by the drift model alone
refresh          re-programs the cells that need it; aged_filter decides which
forecast         what the drift model predicts of gains and errors
monitor          when an error will pass a limit; outlook asks it for a whole chip
study            a run's chip (aged_run) while it ages, with outcome and study_file for what is reached

docs/drift.md is the user's page, docs/compensations.md says how to write a strategy of one's own.
"""
