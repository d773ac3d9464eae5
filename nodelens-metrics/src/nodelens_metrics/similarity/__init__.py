"""Metrics of how alike nodes are, within a group and between groups."""
