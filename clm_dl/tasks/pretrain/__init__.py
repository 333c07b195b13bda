"""Pretraining: an encoder learnt from histories without labels."""
