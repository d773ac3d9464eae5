"""The loss increase of single nodes, and the metrics that predict the increase."""
