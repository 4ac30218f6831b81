"""Measurements of a pair of models; no thresholds here."""
