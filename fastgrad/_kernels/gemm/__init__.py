"""C = A·B + bias, activated: the paths by shape, and what they are made of."""
