"""JSON of an untrusted file: parsed only when its size, its number of values and its names allow it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, NoReturn

from qgate.errors import FormatError

MAX_BYTES = 48 * 2**20
MAX_MARKS = 1_000_000
MAX_WIDE = 16 * 2**20
_MARKS = (b"{", b"[", b",", b":")


def read_json(data: memoryview, what: str, where: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object that a text holds.

    Args:
        data: The text, UTF-8.
        what: What it is, for messages.
        where: The file, for messages.
        limit: Most bytes that it may have.

    Raises:
        FormatError: It is no JSON object (ART104), holds a name twice, or asks for more than it may (ART105).
    """
    if len(data) > limit:
        _refuse(f"{what} has {len(data)} bytes ({limit} at most)", where)
    raw = bytes(data)
    # Each value needs a mark before it, so that these bound what a parser makes of the text.
    if sum(raw.count(mark) for mark in _MARKS) > MAX_MARKS:
        _refuse(f"{what} holds more than {MAX_MARKS} values", where)
    if not raw.isascii() and len(raw) > MAX_WIDE:
        # One character beyond the basic plane makes Python spend four bytes on each of the others.
        _refuse(f"{what} has {len(raw)} bytes that are not all ASCII ({MAX_WIDE} at most)", where)
    try:
        text = raw.decode("utf-8")
        del raw
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_int=_whole)
    except RecursionError as error:
        raise _refusal(f"{what} nests too deep", where, "ART105") from error
    except _TwiceError as error:
        raise _refusal(f"{what} holds the name {error.args[0][:80]!r} twice", where, "ART105") from error
    except ValueError as error:
        raise _refusal(f"{what} is no JSON ({str(error)[:120]})", where, "ART104") from error
    if not isinstance(found, dict):
        raise _refusal(f"{what} is no JSON object", where, "ART104")
    return found


class _TwiceError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise _TwiceError(twice)
    return found


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _whole(text: str) -> int:
    if len(text) > 24:
        raise ValueError("a number has more digits than any size")
    return int(text)


def _refuse(what: str, where: str) -> NoReturn:
    raise _refusal(what, where, "ART105")


def _refusal(what: str, where: str, rule: str) -> FormatError:
    return FormatError(what, where=where, remedy="Save the model again; do not merge this file", rule=rule)
