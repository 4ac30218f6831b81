"""Operators that move data and change none. Imports nothing, so that rules may name them too."""

LAYOUT = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Cast", "Pad", "Expand"}
)
