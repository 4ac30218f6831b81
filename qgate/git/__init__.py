"""A git repository that is not trusted, read and never run."""
