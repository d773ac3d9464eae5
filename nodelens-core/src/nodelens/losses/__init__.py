"""Losses that come with the core."""
