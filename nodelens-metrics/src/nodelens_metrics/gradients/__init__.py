"""First-order loss changes, at a gate of a node or at its weights."""
