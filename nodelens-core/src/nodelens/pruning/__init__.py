"""Pruning plans applied to copies of a model, evaluated and exported."""
