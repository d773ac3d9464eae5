"""Capture: batches go through the model once, every planned statistic is updated on the way."""
