"""Analyses: how scores relate to each other; nothing is measured on the model."""
