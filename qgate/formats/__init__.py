"""Static readers: bytes in, StaticModel out, nothing executed."""
