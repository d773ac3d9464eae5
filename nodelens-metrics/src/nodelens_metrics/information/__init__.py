"""Gaussian, copula and neighbour information between nodes, and about the output."""
