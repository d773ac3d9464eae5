"""Storage of runs: files that are written atomically and never pickled."""
