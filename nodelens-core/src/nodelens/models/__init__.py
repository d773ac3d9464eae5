"""Models: the backend contract and the reference models."""
