"""Groups of nodes with similar scores."""
