"""Metrics of what a node says about the class of a sample."""
