"""A pickle followed opcode by opcode, on a stack of plain data: nothing is imported, called or built.

It is no unpickler with exceptions taken out but a list of what is let in. Each opcode, each global and
each way of using one must be on the list and used as PyTorch's writer uses it; whatever else a stream asks
for ends the reading, with the opcode, its place and the name it asked for. Opcodes, nesting and what the
stream makes us hold are capped, so that a small file stays small.

Source: CPython's pickletools (opcodes), torch/_weights_only_unpickler.py (what PyTorch itself lets in).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.torch.rebuild import Store, attach, call, construct, lookup
from qgate.formats.torch.stream import Stream
from qgate.formats.torch.values import Global, Ordered, RefusedError

MAX_OPCODES = 2_000_000
MAX_MARKS = 500
MAX_HELD = 96 * 2**20
MAX_TEXT = 4 * 2**20
_CODE = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX", "PERSID"}
# What holding one thing costs, in bytes, somewhat more than CPython takes.
_SMALL, _BOX, _SLOT, _ENTRY = 32, 72, 8, 110
# Writers name a global once and recall it afterwards; looking one up takes more time than memory.
_LOOKED_UP = 1024


class Machine(Stream):
    """Follows one pickle.

    Args:
        data: The bytes that the pickle lies in.
        where: The file, for messages.
        store: What persistent ids may name.
        at: Where the pickle begins.
    """

    def __init__(self, data: memoryview, where: str, store: Store, at: int = 0) -> None:
        super().__init__(data, at)
        self.where = where
        self.store = store
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: list[Any] = []
        self.held = 0
        self.protocol = 0
        self._table = _table(self)

    def run(self) -> Any:
        """What the pickle stands for; ``at`` is then the first byte behind it.

        Raises:
            FormatError: It is damaged or asks for more than it may (ART104, ART105).
            CodeError: It names what a loader would run (ART114).
        """
        table, begin = self._table, self.at
        opcode = -1
        try:
            for _ in range(MAX_OPCODES):
                begin = self.at
                opcode = self.data[begin]
                self.at = begin + 1
                if opcode == 0x2E:
                    return self._stop()
                table[opcode]()
                if self.held > MAX_HELD:
                    raise RefusedError(f"it makes a reader hold more than {MAX_HELD >> 20} MiB")
            raise RefusedError(f"it has more than {MAX_OPCODES} opcodes")
        except RefusedError as refusal:
            raise self._error(refusal, opcode, begin) from None
        except (IndexError, ValueError, TypeError, OverflowError, KeyError) as error:
            # Too short a stack, a cut argument, or one thing where another belongs.
            raise FormatError(
                f"the pickle is damaged at byte {begin} ({_name(opcode)}: {type(error).__name__})",
                where=self.where, remedy="Save the model again; do not merge this file", rule="ART104",
            ) from error  # fmt: skip

    def _error(self, refusal: RefusedError, opcode: int, begin: int) -> FormatError:
        place = f"byte {begin} of its pickle, {_name(opcode)}"
        if refusal.code:
            return CodeError(f"{refusal.what} ({place})", where=self.where, kind="pickle")
        return FormatError(
            f"{refusal.what} ({place})", where=self.where,
            remedy="Save the model's state_dict again with torch.save; do not merge this file", rule="ART105",
        )  # fmt: skip

    def _stop(self) -> Any:
        if len(self.stack) != 1 or self.marks:
            raise RefusedError(f"it ends with {len(self.stack)} things on its stack")
        return self.stack.pop()

    # -- arguments ----------------------------------------------------------------------------------

    def text(self, length: int) -> None:
        """Pushes a string."""
        self.stack.append(self._bytes(length).decode("utf-8", "surrogatepass"))

    def _bytes(self, length: int) -> bytes:
        if length > MAX_TEXT:
            raise RefusedError(f"it holds a string of {length} bytes ({MAX_TEXT} at most)")
        # A string with one character beyond the basic plane takes four bytes for each of the others.
        self.held += 4 * length + _BOX
        return bytes(self.take(length))

    def old_text(self) -> None:
        """SHORT_BINSTRING: text of Python 2, which readers decode in ways of their own beyond ASCII."""
        self.stack.append(self._bytes(self.byte()).decode("ascii"))

    def raw(self, length: int) -> None:
        """Pushes bytes."""
        self.stack.append(self._bytes(length))

    # -- the stack ----------------------------------------------------------------------------------

    def pop(self) -> Any:
        """The top of the stack; what lies under a mark is out of reach."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("a mark")
        return self.stack.pop()

    def top(self) -> Any:
        """The top of the stack, which stays where it is."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise IndexError("a mark")
        return self.stack[-1]

    def push(self, value: Any, cost: int = _BOX) -> None:
        """Puts something on the stack."""
        self.held += cost
        self.stack.append(value)

    def popped(self) -> list[Any]:
        """What lies above the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # -- opcodes ------------------------------------------------------------------------------------

    def mark(self) -> None:
        """MARK."""
        if len(self.marks) >= MAX_MARKS:
            raise RefusedError(f"it nests {MAX_MARKS} deep")
        self.marks.append(len(self.stack))

    def tuples(self, count: int) -> None:
        """TUPLE1 to TUPLE3."""
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)), _BOX + count * _SLOT)

    def marked_tuple(self) -> None:
        """TUPLE."""
        items = tuple(self.popped())
        self.push(items, _BOX + len(items) * _SLOT)

    def remember(self, index: int) -> None:
        """BINPUT and its kin: writers number what they remember from zero on, and never again."""
        if index != len(self.memo):
            raise RefusedError(f"it remembers something as number {index} after {len(self.memo)} others")
        self.held += _SLOT
        self.memo.append(self.top())

    def recall(self, index: int) -> None:
        """BINGET and its kin."""
        if index >= len(self.memo):
            raise RefusedError(f"it recalls number {index}, which it never remembered")
        self.push(self.memo[index], _SLOT)

    def append(self, items: list[Any]) -> None:
        """APPEND and APPENDS."""
        target = self.top()
        if type(target) is not list:
            raise RefusedError(f"it appends to {_kind(target)}")
        self.held += 2 * _SLOT * len(items)
        target.extend(items)

    def put(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS."""
        target = self.top()
        if type(target) not in (dict, Ordered) or len(items) % 2:
            raise RefusedError(f"it puts entries into {_kind(target)}")
        self.held += _ENTRY * len(items)
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Larger numbers can be chosen so that all of them fall into one slot of a dictionary.
            if type(key) not in (str, int, bool, type(None)) or (type(key) is int and abs(key) >= 2**48):
                raise RefusedError(f"it uses {_kind(key)} as a key")
            if key in target:
                raise RefusedError(f"it holds two entries of the name {str(key)[:80]!r}")
            target[key] = value

    def found(self, module: str, name: str) -> None:
        """GLOBAL: a name must be on the list."""
        self.push(lookup(module, name), _LOOKED_UP)

    def stacked(self) -> None:
        """STACK_GLOBAL: both names must be strings."""
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise RefusedError("it makes a global's name of something that is no string", code=True)
        self.found(module, name)

    def reduce(self) -> None:
        """REDUCE: the call of a function on the list, with arguments that are judged one by one."""
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple or type(function) is not Global:
            raise RefusedError(f"it calls {_kind(function)}", code=type(function) is not tuple)
        self.push(call(function.name, arguments, self.store), 3 * _BOX)

    def new(self) -> None:
        """NEWOBJ: an object of a class that only holds settings."""
        arguments, kind = self.pop(), self.pop()
        if type(arguments) is not tuple or type(kind) is not Global:
            raise RefusedError(f"it makes an object of {_kind(kind)}", code=True)
        self.push(construct(kind.name, arguments), 3 * _BOX)

    def build(self) -> None:
        """BUILD: attributes of what may have some."""
        state = self.pop()
        self.stack[-1] = attach(self.top(), state)

    def persistent(self) -> None:
        """BINPERSID: a storage."""
        self.push(self.store.resolve(self.pop()), 2 * _BOX)

    def long(self) -> None:
        """LONG1."""
        self.push(int.from_bytes(self.take(self.byte()), "little", signed=True), 2 * _SMALL)

    def real(self) -> None:
        """BINFLOAT."""
        self.push(self.number(">d", 8), _SMALL)

    def frame(self) -> None:
        """FRAME: a hint about buffering; it must not reach beyond the stream."""
        if self.number("<Q", 8) > len(self.data) - self.at:
            raise RefusedError("it has a frame that reaches beyond its end")

    def protocol_(self) -> None:
        """PROTO: the first opcode, and no other."""
        version = self.byte()
        if self.protocol or not 2 <= version <= 5:
            raise RefusedError(
                f"it is of protocol {version}" if not self.protocol else "it changes its protocol"
            )
        self.protocol = version


def _table(m: Machine) -> list[Callable[[], None]]:
    """What to do at each opcode that is on the list."""
    stack = m.stack

    def refused() -> None:
        name = _name(m.data[m.at - 1])
        raise RefusedError(f"it uses {name}, which no checkpoint needs", code=name in _CODE)

    table: list[Callable[[], None]] = [refused] * 256
    known: dict[bytes, Callable[[], None]] = {
        b"\x80": m.protocol_, b"\x95": m.frame, b"(": m.mark,
        b"}": lambda: m.push({}), b"]": lambda: m.push([]), b")": lambda: m.push((), _SLOT),
        b"N": lambda: stack.append(None), b"\x88": lambda: stack.append(True), b"\x89": lambda: stack.append(False),
        b"K": lambda: m.push(m.byte(), _SLOT), b"M": lambda: m.push(m.number("<H", 2), _SMALL),
        b"J": lambda: m.push(m.number("<i", 4), _SMALL), b"\x8a": m.long, b"G": m.real,
        b"X": lambda: m.text(m.number("<I", 4)), b"\x8c": lambda: m.text(m.byte()),
        b"\x8d": lambda: m.text(m.number("<Q", 8)),
        b"C": lambda: m.raw(m.byte()), b"B": lambda: m.raw(m.number("<I", 4)),
        b"\x8e": lambda: m.raw(m.number("<Q", 8)), b"U": m.old_text,
        b"\x85": lambda: m.tuples(1), b"\x86": lambda: m.tuples(2), b"\x87": lambda: m.tuples(3), b"t": m.marked_tuple,
        b"a": lambda: m.append([m.pop()]), b"e": lambda: m.append(m.popped()),
        b"s": lambda: m.put([m.pop(), m.pop()][::-1]), b"u": lambda: m.put(m.popped()),
        b"q": lambda: m.remember(m.byte()), b"r": lambda: m.remember(m.number("<I", 4)),
        b"\x94": lambda: m.remember(len(m.memo)),
        b"h": lambda: m.recall(m.byte()), b"j": lambda: m.recall(m.number("<I", 4)),
        b"c": lambda: m.found(m.line(), m.line()), b"\x93": m.stacked,
        b"R": m.reduce, b"\x81": m.new, b"b": m.build, b"Q": m.persistent,
    }  # fmt: skip
    for opcode, action in known.items():
        table[opcode[0]] = action
    return table


def _name(opcode: int) -> str:
    from pickletools import opcodes

    return next((o.name for o in opcodes if ord(o.code) == opcode), f"opcode {opcode:#04x}")


def _kind(value: Any) -> str:
    names = {str: "a string", int: "a number", float: "a number", bytes: "bytes", tuple: "a tuple", list: "a list",
             dict: "a dictionary", Ordered: "a dictionary", bool: "a truth value", type(None): "nothing"}  # fmt: skip
    return value.name if type(value) is Global else names.get(type(value), type(value).__name__.lower())
