"""Loss increase of single nodes, and which metric predicts it."""
