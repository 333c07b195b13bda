"""Baselines: the cheap models that every network has to beat, on the same snapshots."""
