"""The report: its schema, its provenance, its renderers."""
