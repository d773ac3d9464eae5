"""Metrics of the few nodes that carry the loss, and of what surrounds these."""
