"""The candidate in the other runtimes that its target declares, each in a process of its own."""
