"""The plan of a capture: the union of statistics, within a memory budget."""
