"""Rules of channel inference, by operator family; `operation` says what a rule is given."""
