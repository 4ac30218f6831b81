"""Hostile text made harmless, once for every place that it can appear in.

Names of tensors, nodes, files and targets come from a model that nobody has vouched for, and messages
quote them. Three outputs obey what they are given: GitHub's Markdown (links, images, mentions, issue and
commit references, HTML, tables), a terminal (control sequences, bidirectional and invisible characters)
and the runner's log (``::command`` at a line's start, ``##[command]`` anywhere).

The approach is an allow-list throughout. A name keeps a few characters and spells out the rest. In prose
a word that is plainly a word stays one; whatever is not becomes a code span, inside which GitHub links
nothing and Markdown means nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

NAME_LIMIT = 120
PROSE_LIMIT = 1000
ELLIPSIS = "…"
EMPTY = "(empty)"

_NAME_SAFE = re.compile(r"[A-Za-z0-9._/:,=+()\[\]% '>…−∞±×-]")
_OPENING = "(\"'“‘"
_CLOSING = ")\"'”’.,;:!?"
_WORD = re.compile(r"[A-Za-z0-9+\-−±≥≤≈→×][A-Za-z0-9.,'’+/%=×–—−²³σµ-]*")
_LONE = frozenset("-–—−=+/·→×±≥≤≈…%")
_LINKED = re.compile(
    r"www\."  # GFM links a bare www. domain
    r"|//"  # an address
    r"|(?<![0-9A-Za-z])[0-9a-fA-F]{7,64}(?![0-9A-Za-z])"  # a commit
    r"|\b(?:gh|ghsa|cve)-"  # an issue or an advisory
    r"|\b(?-i:[A-Z]{2,})-\d",  # a repository's own autolinks, TICKET-12
    re.IGNORECASE,
)
_STOPS = frozenset([",", ".", ";", ":", "?", ")", ").", "),", ");"])
# An index, a shape or an interval: kept whole, for a link or a task needs other characters beside it.
_LIST = r"\[[\w.+−∞?-]+(?:, [\w.+−∞?-]+){0,32}\]"
_TOKEN = re.compile(_LIST + r"|`[^`]*[^`\s][^`]*`|[^\s`]+|`")
_LIST_MARKER = re.compile(r"\d+[.)]+")
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Me"})
_SPACES = re.compile(r"[ \t\r\n\f\v]+")


def name(text: str, limit: int = NAME_LIMIT) -> str:
    r"""A name from a file: a few safe characters as they are, the rest as ``\xNN`` or ``\u{NNNN}``.

    Longer names lose their middle, for the layers of a model differ at both ends. A backslash is
    spelled out too, so two different short names never look the same.

    Returns:
        1 to ``limit`` characters, of which none is a backtick, ``|``, ``<``, ``&``, ``@``, ``#``, a
        line break or invisible.
    """
    if not text:
        return EMPTY
    if len(text) > 2 * limit:  # each character gives at least one: what is cut away need not be spelled out
        text = text[:limit] + text[-limit:]
        return _without_middle(list(_spelled(text)), limit, must_cut=True)
    return _without_middle(list(_spelled(text)), limit, must_cut=False)


def _spelled(text: str) -> Iterator[str]:
    for position, character in enumerate(text):
        if character == " " and (position in (0, len(text) - 1) or text[position - 1] == " "):
            yield "\\x20"  # Markdown and HTML swallow it
        elif _NAME_SAFE.fullmatch(character):
            yield character
        else:
            yield _code_point(character)


def _code_point(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{{{number:x}}}"


def _without_middle(pieces: list[str], limit: int, *, must_cut: bool) -> str:
    if not must_cut and sum(map(len, pieces)) <= limit:
        return "".join(pieces)
    room = limit - len(ELLIPSIS)
    head = _as_fits(pieces, room - room // 2)
    tail = _as_fits(pieces[::-1], room // 2)
    return "".join(head) + ELLIPSIS + "".join(reversed(tail))


def _as_fits(pieces: list[str], room: int) -> list[str]:
    """The first pieces that fit, so that no escape is cut in two."""
    taken: list[str] = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        taken.append(piece)
    return taken


def code(text: str, limit: int = NAME_LIMIT) -> str:
    """A name as a Markdown code span; its text cannot end the span, a table cell or a line."""
    return f"`{name(text, limit)}`"


def visible(text: str, limit: int = PROSE_LIMIT) -> str:
    """Text for a terminal or a page: one line, nothing invisible, reordering, combining or obeyed."""
    flat = _SPACES.sub(" ", text[: 4 * limit]).strip()
    shown = "".join(
        _code_point(c) if c != " " and unicodedata.category(c) in _HIDDEN_CATEGORIES else c for c in flat
    ).replace("##[", "#\\x23[")
    if len(shown) <= limit:
        return shown
    return shown[: limit - len(ELLIPSIS)] + ELLIPSIS


def prose(text: str, limit: int = PROSE_LIMIT) -> str:
    """A sentence as Markdown that renders as text and code spans, and as nothing else.

    Passages in backticks stay code. It fits a paragraph, a list item, a heading or a table cell, for it
    is one line without a pipe and never begins a block. What is longer than ``limit`` loses whole words.
    """
    shown = ""
    for spaced, token in _tokens(text[: 4 * limit]):
        word = _passage(token) or _word(token, first=not shown)
        clash = shown.endswith("`") and word.startswith("`")  # two spans that touch would be none
        gap = " " if shown and (spaced or clash) else ""
        if len(shown) + len(gap) + len(word) > limit - 2:
            return f"{shown} {ELLIPSIS}"
        shown += gap + word
    return shown


def _tokens(text: str) -> Iterator[tuple[bool, str]]:
    """Words and passages in backticks, each with whether white space came before it."""
    end = 0
    for found in _TOKEN.finditer(text):
        yield found.start() > end, found.group()
        end = found.end()


def _passage(token: str) -> str | None:
    """A passage in backticks, or a list such as [3, 0, 1] or [N, 64], as code."""
    if len(token) > 2 and token[0] == token[-1] == "`":
        return code(token[1:-1].strip())
    return code(token) if re.fullmatch(_LIST, token) else None


def _word(word: str, *, first: bool) -> str:
    """A word as it is where it plainly is one, else as a code span, brackets and stops outside it."""
    if word in _LONE:
        return code(word) if first else word
    core = word.lstrip(_OPENING)
    opening = word[: len(word) - len(core)]
    core = core.rstrip(_CLOSING)
    closing = word[len(opening) + len(core) :]
    if not core and not first and closing in _STOPS:
        return word
    if not core or len(opening) > 2 or len(closing) > 3 or "::" in closing:
        return code(word)
    if first and _LIST_MARKER.fullmatch(word):
        return code(word)
    if len(word) > NAME_LIMIT or not _WORD.fullmatch(core) or _LINKED.search(core + closing):
        if opening.endswith("'") and closing.startswith("'"):  # quoted is what the span shows anyway
            return f"{opening[:-1]}{code(core)}{closing[1:]}"
        return f"{opening}{code(core)}{closing}"
    return word


def workflow_message(text: str, limit: int = 2 * PROSE_LIMIT) -> str:
    """The message of a workflow command, on one line of the runner's log."""
    return visible(text, limit).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def workflow_property(text: str) -> str:
    """A property of a workflow command, such as its title."""
    return workflow_message(text).replace(":", "%3A").replace(",", "%2C")
