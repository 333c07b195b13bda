"""Several questions asked of one encoder."""
