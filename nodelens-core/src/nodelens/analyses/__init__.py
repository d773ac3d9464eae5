"""Analyses: what the scores say about each other."""
