"""The gate: a repository and an event in, one report out."""
