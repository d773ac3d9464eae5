"""A capture shared by several worker processes."""
