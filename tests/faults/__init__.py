"""Faults on purpose: each promise of the project with the figure that it must reach.

The short form runs with the other tests; `SQLANALYSIS_LONG=1 pytest tests/faults` runs the long form. Both print a
table at the end: promise | asked | reached | test.
"""
