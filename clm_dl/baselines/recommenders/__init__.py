"""Recommenders: counting and factor models that rank the whole catalogue, and hybrids of them."""
