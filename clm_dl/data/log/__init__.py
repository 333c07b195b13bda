"""The raw log: sources, roles and checks; what cannot be used is kept aside with a reason; what can becomes an event
store.
"""
