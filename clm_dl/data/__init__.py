"""Data: from a raw event log to batches of customer sequences."""
