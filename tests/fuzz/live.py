"""Constructs that an output would obey: what must not be there once hostile text was written into it.

One function for each output; each returns the constructs that are alive, empty where all is text.
"""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

_AUTOLINKED = re.compile(
    r"(?<![\w/`])@[A-Za-z0-9]"  # a mention
    r"|(?<![\w&])#\d"  # an issue
    r"|\bGH-\d|\bCVE-\d{4}-|\bGHSA-"
    r"|https?://|\bwww\.",
    re.IGNORECASE,
)
_ACTIVE_TAGS = frozenset(
    {"a", "img", "script", "iframe", "object", "embed", "form", "input", "button", "video", "audio", "svg", "math",
     "link", "meta", "base", "style"}
)  # fmt: skip
_COMMAND = re.compile(r"^\s*::|##\[")


class _Tags(HTMLParser):
    """Start tags with their attributes, comments, and the text outside of code."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.comments: list[str] = []
        self.text: list[str] = []
        self._code = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._code += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre")

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text.append(data)


def parsed(html: str) -> _Tags:
    """The page's tags, comments and text."""
    reader = _Tags()
    reader.feed(html)
    reader.close()
    return reader


def in_html(html: str, *, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Active elements, event handlers and script addresses; ``allowed`` are tags of the template's own."""
    found = []
    for tag, attributes in parsed(html).tags:
        if tag in _ACTIVE_TAGS - allowed:
            found.append(f"<{tag}>")
        for name, value in attributes.items():
            if name.startswith("on") or (value or "").strip().lower().startswith(
                ("javascript:", "data:", "vbscript:")
            ):
                found.append(f"{tag} {name}")
    return found


def in_markdown(html: str, *, links: tuple[str, ...] = ()) -> list[str]:
    """What is alive in Markdown that was rendered as GitHub does: tags, and what GitHub links afterwards.

    Args:
        html: The rendered Markdown.
        links: Beginnings of addresses that the template itself links.
    """
    page = parsed(html)
    found = []
    for tag, attributes in page.tags:
        target = attributes.get("href") or attributes.get("src") or ""
        if tag == "a" and target.startswith(links) and links:
            continue
        if tag in _ACTIVE_TAGS:
            found.append(f"<{tag} {target[:60]}>")
    text = " ".join(page.text)
    found += [f"linked: {match.group()}" for match in _AUTOLINKED.finditer(text)]
    return found


def in_terminal(text: str, *, styled: bool = False) -> list[str]:
    """Control, reordering and invisible characters; where styled, colours alone are the printer's own."""
    if styled:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    allowed = {"\n", "\t", "\u200d"} if styled else {"\n"}
    return [
        f"U+{ord(c):04X}"
        for c in text
        if c not in allowed and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    ]


def in_log(text: str, *, own: tuple[str, ...] = ()) -> list[str]:
    """Lines that the runner obeys; ``own`` are beginnings of commands that are meant."""
    lines = re.split(r"\r\n|\r|\n", text)
    return [line[:80] for line in lines if _COMMAND.search(line) and not line.startswith(own or ("\0",))]
