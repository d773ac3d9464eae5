"""What a capture reads: the union of statistics, within a memory budget."""
