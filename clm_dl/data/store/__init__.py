"""The event store: flat memory-mapped columns, offsets and dictionaries on disk."""
