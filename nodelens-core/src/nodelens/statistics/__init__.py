"""Statistics: mergeable accumulators over the calibration stream, kept in folds."""
