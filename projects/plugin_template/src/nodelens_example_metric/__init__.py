"""A metric for NodeLens, to copy."""
