"""Data: the dataset contract, the datasets of the core, and preprocessing."""
