"""Hooks that read tensors at sites while a batch runs."""
