"""Nested dictionaries and lists of a checkpoint as one table of names, with the rest as words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from qgate.errors import FormatError
from qgate.formats.torch.root import state_key, state_record
from qgate.formats.torch.values import (
    ElementType,
    Global,
    NumpyArray,
    NumpyType,
    Ordered,
    Record,
    Tensor,
    Wrapped,
)  # fmt: skip

MAX_DEPTH = 64
MAX_VISITS = 200_000
MAX_WORDS = 500
MAX_WORD = 200
MAX_NAME = 512


@dataclass
class Leaves:
    """What a checkpoint holds.

    Args:
        tensors: By dotted name.
        words: Settings and counters, as text; bounded.
        root: The name, with its dot, that the model's own tensors begin with; empty where they are on top.
        state: Which dictionary a runner puts into a module, see ``root.state_record``; empty where there is none.
    """

    tensors: dict[str, Tensor | Wrapped | NumpyArray] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    root: str = ""
    state: str = ""


def flatten(value: Any, where: str) -> Leaves:
    """Every tensor under a name of its own.

    Raises:
        FormatError: Two tensors of one name, names that cannot be printed, nesting without end.
    """
    leaves = Leaves()
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    visits = 0
    while waiting:
        name, found, depth = waiting.pop()
        visits += 1
        # What is shared many times over counts each time, and a circle has no end.
        if depth > MAX_DEPTH or visits > MAX_VISITS:
            raise _refusal(
                f"its tables hold more than {MAX_VISITS} entries or nest {MAX_DEPTH} deep", name, where
            )
        if type(found) in (Tensor, Wrapped, NumpyArray):
            _add(leaves, name or "tensor", found, where)
        elif type(found) in (dict, Ordered, list, tuple):
            waiting.extend((_joined(name, key, where), entry, depth + 1) for key, entry in _entries(found))
        elif isinstance(found, Global | NumpyType):
            shown = found.name if isinstance(found, Global) else found.code
            raise _refusal(f"the entry {name!r} is the name {shown} itself, not a value", name, where)
        elif len(leaves.words) < MAX_WORDS:
            leaves.words[name] = _word(found)
    key = state_key(value, where)
    if key is not None:
        leaves.root = f"{key}." if key else ""
        leaves.state = state_record(key, value[key] if key else value)
    return leaves


def _entries(found: Any) -> Iterator[tuple[Any, Any]]:
    """Entries, the last first: they are taken from a stack."""
    if isinstance(found, dict):
        yield from reversed(found.items())
    else:
        yield from zip(range(len(found) - 1, -1, -1), reversed(found), strict=True)


def _joined(name: str, key: Any, where: str) -> str:
    full = f"{name}.{key}" if name else str(key)
    if len(full) > MAX_NAME or not full.isprintable():
        raise _refusal(
            f"an entry has a name that is too long or cannot be printed ({full[:64]!r})", name, where
        )
    return full


def _add(leaves: Leaves, name: str, found: Any, where: str) -> None:
    if name in leaves.tensors:
        raise _refusal(f"two tensors lie under the name {name!r}", name, where)
    leaves.tensors[name] = found


def _word(found: Any) -> str:
    if isinstance(found, ElementType):
        return f"torch.{found.torch}"
    if isinstance(found, Record):
        return found.kind
    if isinstance(found, bytes):
        return f"{len(found)} bytes"
    # Python refuses to write numbers of more than some thousand digits.
    text = f"{found:#x}" if type(found) is int and abs(found) >= 2**63 else str(found)
    return text[:MAX_WORD]


def _refusal(what: str, name: str, where: str) -> FormatError:
    return FormatError(
        what,
        where=where,
        remedy="Save the model's state_dict alone",
        rule="ART105",
        tensor=name[:MAX_NAME] or None,
    )
