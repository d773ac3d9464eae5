"""Layer metrics along the depth of a model."""
