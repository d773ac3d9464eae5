"""Hugging Face models for NodeLens."""
