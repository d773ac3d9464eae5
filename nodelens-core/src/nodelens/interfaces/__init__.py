"""The contracts that plugins implement: one protocol for each kind of component."""
