"""Metrics of what a node does on the data, without weights or labels."""
