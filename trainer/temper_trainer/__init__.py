"""Temper's trainer: one process does one piece of work, `python -m temper_trainer SPEC.json`. See ../README.md."""
