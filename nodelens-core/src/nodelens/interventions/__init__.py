"""Interventions: tests of scores by taking nodes away."""
