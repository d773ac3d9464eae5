"""Integrated gradients: conductance and influence along a path from a baseline."""
