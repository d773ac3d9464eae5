"""Findings of stages as values, and their JSON."""
