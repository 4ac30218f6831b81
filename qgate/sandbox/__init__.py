"""The child process that runs untrusted models, and its limits."""
