"""What the numbers of a model say without running it."""
