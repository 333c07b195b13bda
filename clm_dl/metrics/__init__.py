"""Metrics on (label, score): numbers, calibration, intervals by customer, and the summary of a run."""
