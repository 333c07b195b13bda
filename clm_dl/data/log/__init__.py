"""The raw log: sources, roles, checks; what cannot be used is kept aside with a reason, the rest becomes a store."""
