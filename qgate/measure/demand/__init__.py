"""What a model asks of a runtime at the least: bytes, multiplications, turns of loops. Nothing is run."""
