"""Reports: the findings of a run, written for people and for machines from its folder alone."""
