"""Evaluation: metrics of any task on the same resamples of customers, calibration, comparison of runs, drift."""
