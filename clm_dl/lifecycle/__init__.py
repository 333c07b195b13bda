"""Lifecycle: what the scores mean for the business."""
