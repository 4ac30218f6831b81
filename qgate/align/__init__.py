"""Which layer of the candidate is which layer of the reference."""
