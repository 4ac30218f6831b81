"""Mergeable accumulators and paired tests."""
