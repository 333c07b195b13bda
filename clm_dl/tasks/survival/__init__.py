"""Survival: how long customers stay active."""
