"""Metrics of activations times the weights that read or write a node."""
