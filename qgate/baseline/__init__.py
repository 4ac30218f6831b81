"""The numbers that a target is held to: stored, chosen, compared, accepted."""
