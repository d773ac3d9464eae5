"""Experiments: the stages of a run, in order, over one run folder."""
