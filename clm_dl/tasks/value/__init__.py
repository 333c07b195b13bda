"""Value: what customers spend in the label window."""
