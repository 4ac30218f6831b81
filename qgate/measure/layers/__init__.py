"""Every layer of both models side by side, in one session from which only scalars leave."""
