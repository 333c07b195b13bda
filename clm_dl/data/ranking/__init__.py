"""Ranking: protocols that split a log into histories and what is to be found, and the catalogue of items."""
