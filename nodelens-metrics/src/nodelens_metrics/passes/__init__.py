"""Statistics that run the model themselves: along a path, or for products with the Hessian."""
