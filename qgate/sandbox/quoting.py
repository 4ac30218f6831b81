"""Text that a model, a runtime or a child wrote, made fit for one line of a message."""

from __future__ import annotations

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_line(text: str, limit: int = 500) -> str:
    """Visible characters only, white space collapsed, at most ``limit`` characters.

    Control, formatting and bidirectional characters are written as escapes, so that nothing in the text
    can move the cursor, colour a terminal or begin a workflow command on a line of its own.
    """
    clean = "".join(_visible(character) for character in " ".join(text[: 8 * limit].split()))
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
