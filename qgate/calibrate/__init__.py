"""Proposes thresholds from the data: what noise does, and what a plain recipe would give."""
