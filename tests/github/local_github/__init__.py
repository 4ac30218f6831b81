"""A stateful GitHub on loopback, held to GitHub's own OpenAPI description in both directions."""
