"""The one way in which JSON is written here, and the digest that a report carries of itself.

A report's digest is the sha256 of its file without the line that holds it:

    sed '/^ "digest": /d' report.json | sha256sum

It is no signature: whoever edits a report on purpose can write a new digest. It tells that a report is the
one that was written, to whoever got the digest by another way, and refuses what was edited by accident.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MAX_MARKS = 2_000_000
_MARKS = (b"{", b"[", b",", b":")
_KEY = "digest"


def canonical_json(value: object) -> str:
    """Sorted keys, an indent of one space, ASCII only, non-finite numbers refused.

    Raises:
        ValueError: ``value`` holds a non-finite float that was not encoded as a string.
    """
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False) + "\n"


def sealed(value: Mapping[str, Any]) -> str:
    """Canonical JSON of an object with its own digest in it, in place of any that it has."""
    bare = {key: item for key, item in value.items() if key != _KEY}
    digest = hashlib.sha256(canonical_json(bare).encode("ascii")).hexdigest()
    return canonical_json({**bare, _KEY: digest})


def parse_sealed(content: bytes) -> Mapping[str, Any]:
    """Reads what ``sealed`` wrote, byte for byte.

    Raises:
        ValueError: It is no JSON object, or not a byte of it may have been changed and one was.
    """
    refuse_too_much(content)
    if not content.isascii():
        raise ValueError("it was changed after it was written: reports are plain ASCII")
    raw = json.loads(content, parse_constant=_refuse_constant)
    if not isinstance(raw, dict):
        raise ValueError("it is no JSON object")
    if _KEY not in raw:
        raise ValueError("it carries no digest of itself")
    if sealed(raw).encode("ascii") != content:
        raise ValueError("it was changed after it was written: the digest that it carries is not its own")
    return raw


def refuse_too_much(content: bytes) -> None:
    """Refuses JSON of which a parser would make many times its bytes: `{},` is three of them and 72 in memory.

    Raises:
        ValueError: It holds more values than any report.
    """
    # Each value needs a mark before it, so that these bound what a parser makes of the text.
    if sum(content.count(mark) for mark in _MARKS) > MAX_MARKS:
        raise ValueError(f"it holds more than {MAX_MARKS:,} values")


def _refuse_constant(token: str) -> float:
    raise ValueError(f"bare {token} is not JSON")
