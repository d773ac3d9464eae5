"""The reference networks as torch modules; the option classes are one folder up."""
