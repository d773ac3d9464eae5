"""Reports: what a run found, written for people and for machines from its folder alone."""
