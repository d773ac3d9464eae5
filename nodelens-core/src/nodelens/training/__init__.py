"""Training a model and evaluating it."""
