"""Who can run a model; one Runner protocol."""
