"""Training after pruning."""
