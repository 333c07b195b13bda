"""Experiments: settings, the flow from a log to a run directory, and what is done with a finished run."""
