"""Configs: load, inherit, override, check, resolve. Nothing here imports torch."""
