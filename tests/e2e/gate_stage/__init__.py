"""The stage of the end-to-end tests: a team's repository, a container engine, a runner, a GitHub."""
