"""Recommendation: the next item, or the items of the next order."""
