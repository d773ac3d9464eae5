"""Reductions of the weights of a group, which metrics declare and share."""
