"""Sweeps: many trials in one folder, each a run, that any number of starts finish together."""
