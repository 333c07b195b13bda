"""Training: Lightning's trainer, checkpoints, callbacks."""
