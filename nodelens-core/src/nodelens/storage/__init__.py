"""Files of a run: written whole or not at all, plain to read, never pickled."""
