"""A small assembler for pickle streams, so that a call can be written in every way that the format knows.

``pickle.dumps`` writes each thing in one way; a scanner that knows that way alone is what these streams
are for. Nothing here calls anything.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

STOP = b"."
MARK = b"("
REDUCE = b"R"


@dataclass(frozen=True)
class Global:
    """A module's attribute, by name; a dotted attribute needs protocol 4."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of something with arguments; ``how`` is the opcode that makes it: reduce, obj, newobj, inst."""

    callee: Any
    args: tuple[Any, ...] = ()
    how: str = "reduce"


@dataclass(frozen=True)
class Built:
    """BUILD: an object whose state is set, by ``__setstate__`` where it has one."""

    instance: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    """A persistent identifier, as torch writes for storages."""

    identity: Any


@dataclass(frozen=True)
class Raw:
    """Opcodes as they are; they must leave one object on the stack."""

    code: bytes


def call(path: str, *args: Any, how: str = "reduce") -> Call:
    """A call of ``module:name``."""
    module, _, name = path.partition(":")
    return Call(Global(module, name), args, how)


def text(value: str) -> bytes:
    """BINUNICODE."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def named(target: Global) -> bytes:
    """GLOBAL."""
    return f"c{target.module}\n{target.name}\n".encode()


def emit(value: Any) -> bytes:
    """The opcodes that leave ``value`` on the stack."""
    match value:
        case Raw():
            return value.code
        case Global():
            return named(value)
        case Call():
            return _call(value)
        case Built():
            return emit(value.instance) + emit(value.state) + b"b"
        case Persistent():
            return emit(value.identity) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return _integer(value)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return text(value)
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return MARK + _each(value) + b"t"
        case list():
            return b"](" + _each(value) + b"e"
        case dict():
            return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
    raise TypeError(type(value).__name__)


def _integer(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _each(values: Iterable[Any]) -> bytes:
    return b"".join(map(emit, values))


def _call(value: Call) -> bytes:
    if value.how == "obj":
        return MARK + emit(value.callee) + _each(value.args) + b"o"
    if value.how == "inst":
        return MARK + _each(value.args) + b"i" + named(value.callee)[1:]
    how = {"reduce": b"R", "newobj": b"\x81"}
    if value.how == "newobj_ex":
        return emit(value.callee) + emit(value.args) + emit({}) + b"\x92"
    return emit(value.callee) + emit(value.args) + how[value.how]


def stream(*values: Any, protocol: int = 4) -> bytes:
    """A whole pickle; of several values the last is the result, the others are popped."""
    head = bytes([0x80, protocol]) if protocol >= 2 else b""
    body = b"0".join(map(emit, values))
    return head + body + STOP


def stack_global(module: Any, name: Any) -> Raw:
    """STACK_GLOBAL, with module and name from anything that leaves a string on the stack."""
    return Raw(emit(module) + emit(name) + b"\x93")
