"""The policy: its schema, built-in profiles, waivers and what a change loosens."""
