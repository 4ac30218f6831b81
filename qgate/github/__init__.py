"""The only importer of PyGithub."""
