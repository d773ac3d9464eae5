"""Capture: one streaming pass over the batches updates every planned statistic."""
