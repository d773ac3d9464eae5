"""Scoring: from statistics and weights to one number per node, with its standard error."""
