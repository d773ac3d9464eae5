"""Metrics of the weights that write and read a node, without data."""
