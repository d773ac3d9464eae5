"""Node importance metrics for NodeLens, one file per family."""
