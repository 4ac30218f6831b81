"""The Jinja2 environment of the Markdown templates: nothing is printed that a filter has not made safe.

Every expression in a template must be a whole number or come out of one of the filters here; a bare
string is a TypeError, so an unescaped value cannot be written by oversight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from qgate.records import Finding, Place, Verdict
from qgate.report import content, escape, figures
from qgate.report.evidence import beside_the_proof, evidence_items, flat, place_items
from qgate.report.view import Mark

_CONSTANT = re.compile(r"[A-Za-z0-9 ,.:;()…-]*")
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:-]+(?:/[A-Za-z0-9._~/%?=&-]*)?(?:#[A-Za-z0-9._-]*)?")
_DIGEST = re.compile(r"[0-9a-f]{40,128}")
_BREAK = re.compile(r"(?<!,) (?![(→]|differ)")
_ICONS: Mapping[Mark, str] = {
    Mark.ERROR: "⛔",
    Mark.FAIL: "❌",
    Mark.OPEN: "🟡",
    Mark.WARNING: "⚠️",
    Mark.PASS: "✅",
    Mark.NONE: "–",
}
_ALERTS: Mapping[Verdict, str] = {Verdict.INCONCLUSIVE: "WARNING", Verdict.PASS: "NOTE"}


class Markdown(str):
    """Text that may stand in the Markdown as it is."""

    __slots__ = ()


def address(url: str | None) -> str | None:
    """A web address that may become a link, or None: at most 300 plain characters, http or https."""
    return url if url and len(url) <= 300 and _ADDRESS.fullmatch(url) else None


@cache
def environment() -> Environment:
    """The environment that refuses to print anything but numbers and what a filter made safe."""
    made = Environment(
        loader=PackageLoader("qgate.report", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - Markdown, made safe by _only_safe and the filters
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_only_safe,
    )
    made.filters.update({label: _marked(function) for label, function in _FILTERS.items()})
    return made


@cache
def templates() -> Any:
    """The macros of ``comment.md.j2``, each of which renders one block."""
    return environment().get_template("comment.md.j2").module


def _only_safe(printed: object) -> object:
    if isinstance(printed, (Markdown, Undefined)) or type(printed) is int:
        return printed  # an undefined value raises by itself when it becomes text
    raise TypeError(f"a template prints a bare {type(printed).__name__}; send it through a filter")


def _marked(function: Callable[..., str]) -> Callable[..., Markdown]:
    return lambda *values: Markdown(function(*values))


def _constant(text: str) -> str:
    """A word of qgate's own; anything else is a defect."""
    if not _CONSTANT.fullmatch(text):
        raise TypeError(f"{text!r} is no constant of a template")
    return text


def _place(place: Place) -> str:
    parts = [(label, escape.code(text)) for label, text in place_items(place)]
    shown = "".join(f" · {label} {span}" if label else f" {span}" for label, span in parts)
    return shown.removeprefix(" · ").strip() or "–"


def _figure(text: str) -> str:
    """A key figure, which may break before an interval, an arrow or its verb and after a comma; code spans stay as they are."""
    spans = escape.prose(text, escape.NAME_LIMIT).split("`")
    return "`".join(_BREAK.sub("&nbsp;", part) if i % 2 == 0 else part for i, part in enumerate(spans))


def _evidence(finding: Finding) -> str:
    return " · ".join(f"{escape.prose(k, 60)} {escape.code(v)}" for k, v in evidence_items(finding))


def _besides(evidence: Mapping[str, Any]) -> str:
    items = beside_the_proof(evidence).items()
    return " · ".join(
        f"{escape.prose(key.replace('_', ' '), 60)} {escape.code(figures.plain(item))}" for key, item in items
    )


def _block(text: Markdown) -> str:
    """What another macro of the template wrote; a macro gives Markdown only, because of ``_only_safe``."""
    return str(text)


def _proof(evidence: Mapping[str, Any], key: str) -> str:
    return escape.code(figures.plain(evidence[key]), 40) if key in evidence else ""


def _digest(sha256: str | None) -> str:
    if sha256 is None:
        return "–"
    return escape.code(sha256[:12] if _DIGEST.fullmatch(sha256) else sha256)


def _address(url: str) -> str:
    checked = address(url)
    if checked is None:
        raise TypeError("not an address that may be linked")
    return checked


_FILTERS: Mapping[str, Callable[..., str]] = {
    "code": escape.code,
    "tag": lambda text: f"<code>{escape.name(text)}</code>",  # where GitHub reads HTML, not Markdown
    "prose": lambda text, limit=escape.PROSE_LIMIT: (
        escape.prose(text, limit) or "–"
    ),  # never nothing: **** is a rule
    "constant": _constant,
    "figure": _figure,
    "address": _address,
    "count": figures.number,
    "whole": figures.whole,
    "icon": lambda mark: _ICONS[mark],
    "alert": lambda verdict: _ALERTS.get(verdict, "CAUTION"),
    "place": _place,
    "evidence": _evidence,
    "proof": lambda evidence, key: _proof(flat(evidence), key),
    "besides": _besides,
    "block": _block,
    "typed": lambda tensor: escape.code(content.typed(tensor)),
    "whereabouts": lambda tensor: escape.prose(content.whereabouts(tensor), 400) or "–",
    "digest": _digest,
    "value": lambda value, unit: escape.prose(figures.value(value, unit), escape.NAME_LIMIT),
    "bytes": lambda size: escape.prose(figures.size(size)),
}
