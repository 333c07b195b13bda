"""Sequences: tokens, vocabulary, schema and batches of histories."""
