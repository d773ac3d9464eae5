"""Interventions: tests of scores by ablation."""
