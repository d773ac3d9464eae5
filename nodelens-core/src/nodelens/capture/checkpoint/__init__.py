"""States of statistics in files: checkpoints, spilled passes, saved captures."""
