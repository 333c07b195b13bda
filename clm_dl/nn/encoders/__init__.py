"""Encoders: x_BTD, mask_BT -> h_BTD, causal, right padding."""
