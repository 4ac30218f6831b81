"""YAML 1.2 text to a tree that remembers where each value stands.

The text is hostile: a policy comes with a pull request. So the tree is built here from the parser's
events, with bounds on size, depth, line length and what aliases unfold to, and with the core schema of
YAML 1.2 alone: no tags, no merge keys, no dates, no ``yes`` that means true, no octal by a leading zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from qgate.errors import PolicyError
from qgate.policy.document import Node, quoted, type_name

MAX_BYTES = 2**20
MAX_LINE = 2**14
MAX_DEPTH = 32
MAX_NODES = 20_000
_MAX_NUMERAL = 64

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS: dict[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


def parse_document(data: bytes, where: str) -> Node:
    """Reads one YAML document whose top is a mapping.

    Args:
        data: The file's bytes.
        where: What messages call the file.

    Raises:
        PolicyError: The bytes are not such a document, or exceed a bound.
    """
    text = _decode(data, where)
    try:
        node = _Builder(where).document(_events(text))
    except PolicyError:
        raise
    except Exception as error:  # the parser leaks ValueError, OverflowError, ... on hostile input
        raise _syntax_error(error, where) from error
    if not isinstance(node.value, dict):
        kind = "a list" if isinstance(node.value, tuple) else f"the {type_name(node.value)}"
        raise PolicyError(
            f"the policy is {kind}, not a mapping of keys to values",
            where=f"{where}:{node.line}:{node.column}",
            remedy="Begin the file with `version: 1` and `targets:`",
        )
    return node


def _decode(data: bytes, where: str) -> str:
    if len(data) > MAX_BYTES:
        raise PolicyError(
            f"the policy has {len(data)} bytes, more than the {MAX_BYTES} that are read",
            where=where,
            remedy="Split it, or remove what is not a policy",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(
            f"the policy is not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start})",
            where=f"{where}:{line}",
            remedy="Save the file as UTF-8",
        ) from error
    for number, line_text in enumerate(text.splitlines(), 1):
        if len(line_text) > MAX_LINE:
            raise PolicyError(
                f"the line has {len(line_text)} characters, more than the {MAX_LINE} that are read",
                where=f"{where}:{number}",
                remedy="Break the line",
            )
    return text


def _events(text: str) -> Iterator[Any]:
    from ruamel.yaml import YAML

    parsed: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)
    return parsed


def _syntax_error(error: Exception, where: str) -> PolicyError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark is not None else where
    problem = str(getattr(error, "problem", None) or error).splitlines()
    what = problem[0][:200] if problem else type(error).__name__
    remedy = "Correct the YAML at that place"
    if "'\\t'" in what:
        remedy = "Indent with spaces: YAML does not allow tabs there"
    elif "special characters are not allowed" in str(error):
        what, remedy = f"the text holds a control character ({what})", "Remove it"
    return PolicyError(f"not valid YAML: {_printable(what)}", where=place, remedy=remedy)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class _Builder:
    """Builds nodes from the parser's events; ``total`` counts nodes with aliases unfolded."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.anchors: dict[str, Node] = {}
        self.total = 0

    def fail(self, event: Any, what: str, remedy: str) -> PolicyError:
        mark = event.start_mark
        return PolicyError(what, where=f"{self.where}:{mark.line + 1}:{mark.column + 1}", remedy=remedy)

    def document(self, events: Iterator[Any]) -> Node:
        from ruamel.yaml import events as kinds

        root: Node | None = None
        for event in events:
            if isinstance(event, kinds.DocumentStartEvent):
                if root is not None:
                    raise self.fail(event, "a second document begins here", "Keep one policy in the file")
                if event.version not in (None, (1, 2), [1, 2]):
                    raise self.fail(event, "the policy is read as YAML 1.2", "Remove the %YAML line")
            elif isinstance(event, kinds.NodeEvent):
                root = self.node(event, events, 0)
        if root is None or root.value is None:
            raise PolicyError(
                "the policy is empty", where=self.where, remedy="Begin it with `version: 1` and `targets:`"
            )
        return root

    def node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        from ruamel.yaml import events as kinds

        if depth > MAX_DEPTH:
            raise self.too_deep(event)
        if isinstance(event, kinds.AliasEvent):
            node = self.alias(event)
        else:
            if event.tag is not None:
                raise self.fail(event, f"the tag {quoted(event.tag)} is not read", "Remove the tag")
            node = self.content(event, events, depth)
            if event.anchor is not None:
                self.anchors[str(event.anchor)] = node
        if depth + node.height > MAX_DEPTH:
            raise self.too_deep(event)
        self.count(event, node.size if isinstance(event, kinds.AliasEvent) else 1)
        return node

    def too_deep(self, event: Any) -> PolicyError:
        return self.fail(event, f"values are nested more than {MAX_DEPTH} deep", "Flatten the policy")

    def count(self, event: Any, nodes: int) -> None:
        self.total += nodes
        if self.total > MAX_NODES:
            raise self.fail(
                event,
                f"the policy has more than {MAX_NODES} values, aliases unfolded",
                "Split it, or use a profile in place of repeated thresholds",
            )

    def alias(self, event: Any) -> Node:
        target = self.anchors.get(str(event.anchor))
        if target is None:
            raise self.fail(
                event, f"the alias {quoted(event.anchor)} has no complete anchor before it", "Write the value"
            )
        mark = event.start_mark
        return Node(target.value, mark.line + 1, mark.column + 1, target.size, target.height)

    def content(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        from ruamel.yaml import events as kinds

        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, kinds.ScalarEvent):
            text = str(event.value)
            return Node(_resolve(text) if event.implicit[0] else text, line, column)
        if isinstance(event, kinds.MappingStartEvent):
            entries = self.mapping(events, depth)
            nodes = [node for _, _, node in entries.values()]
            return Node(entries, line, column, 1 + sum(1 + n.size for n in nodes), _height(nodes))
        children: list[Node] = []
        while not isinstance(child := next(events), kinds.SequenceEndEvent):
            children.append(self.node(child, events, depth + 1))
        return Node(tuple(children), line, column, 1 + sum(n.size for n in children), _height(children))

    def mapping(self, events: Iterator[Any], depth: int) -> dict[str, tuple[int, int, Node]]:
        from ruamel.yaml import events as kinds

        entries: dict[str, tuple[int, int, Node]] = {}
        while not isinstance(event := next(events), kinds.MappingEndEvent):
            if not isinstance(event, kinds.ScalarEvent) or event.tag is not None:
                raise self.fail(event, "a key is not plain text", "Write the key as a word")
            key = str(event.value)
            if key == "<<" and event.implicit[0]:
                raise self.fail(
                    event, "merge keys (<<) are not part of YAML 1.2", "Use a profile's `extends`"
                )
            if key in entries:
                first = entries[key][0]
                raise self.fail(
                    event, f"the key {quoted(key)} is given twice, first on line {first}", "Keep one of them"
                )
            self.count(event, 1)
            place = event.start_mark.line + 1, event.start_mark.column + 1
            entries[key] = (*place, self.node(next(events), events, depth + 1))
        return entries


def _height(nodes: list[Node]) -> int:
    return 1 + max((node.height for node in nodes), default=0)


def _resolve(text: str) -> object:
    """A plain scalar by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/, 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_NUMERAL:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITY.fullmatch(text):
        return float(f"{match[1]}inf")
    return text
