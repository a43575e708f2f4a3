"""A whole host in simulated time: apps, sender, operator, API and disk, on real files, in one process.

`disk` and `api` are what can fail, `processes` and `operation` who acts, `world` holds them together; `machine` lets
Hypothesis choose what happens, `life` lets more happen in between, `judge` judges beside the oracle.
"""
