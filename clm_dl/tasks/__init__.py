"""Tasks: one folder a task, and the contract that they share."""
