"""Rules of channel inference by operator family; each takes one `Operation`."""
