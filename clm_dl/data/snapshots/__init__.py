"""Snapshots: cutoffs, who is in the population, labels, features of the history."""
