"""The catalogue of rules, one module for each dimension."""
