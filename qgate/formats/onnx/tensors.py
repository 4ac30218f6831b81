"""TensorProto to Constant: what is declared against the bytes that are there, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import FormatError
from qgate.formats.external import SideFiles, parse_external
from qgate.formats.model import Constant
from qgate.formats.onnx import numbers
from qgate.formats.onnx.dtypes import DTYPES, TYPED_FIELD, loaded_dtype
from qgate.formats.onnx.numbers import Stored
from qgate.formats.stored import strings_as_bytes
from qgate.formats.wire import Buffer, Values

MAX_RANK = 32
MAX_UNFOLD = 4
SMALL = 2**24
_EXTERNAL = 1
_DATA = {"raw_data", "float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data"}
_ELEMENT_BYTES = {"float_data": 4, "double_data": 8}
_REMEDY = "Export the model again; do not merge this file"


@dataclass
class TensorReader:
    """Makes constants of the tensors of one file.

    Args:
        buffer: The file's bytes.
        side_files: Where external data lie.
        where: The file's name, for messages.
    """

    buffer: Buffer
    side_files: SideFiles
    where: str

    def __post_init__(self) -> None:
        buffer = self.buffer
        self._here: Callable[[], Buffer] = lambda: buffer

    def constant(self, proto: Values, _: int = 0) -> Constant:
        """One tensor.

        Raises:
            FormatError: It declares what it does not hold, or holds its data twice, in pieces or nowhere.
        """
        name = proto.get("name", "")
        dtype, bits = DTYPES.get(proto.get("data_type", 0), ("", 0))
        shape = tuple(proto.get("dims", ()))
        if not dtype or len(shape) > MAX_RANK or any(not 0 <= d < 2**31 for d in shape):
            raise self.refused(name, "has an unknown type or a size that no tensor has")
        if "segment" in proto:
            raise self.refused(name, "is a part of a tensor")
        held = [field for field in proto if field in _DATA and _holds(proto, field)]
        location = proto.get("data_location", 0)
        if location not in (0, _EXTERNAL):
            raise self.refused(name, f"says that its data lie in place {location}")
        external = location == _EXTERNAL
        if dtype == "string" and (external or "raw_data" in held):
            raise self.refused(name, "of strings holds raw bytes")
        if external and not held:
            return self._external(proto, name, dtype, bits, shape)
        if len(held) > 1 or "external_data" in proto or external:
            places = ", ".join(held) or "external"
            raise self.refused(name, f"holds its data twice ({places}), and readers differ in which counts")
        field = held[0] if held else "raw_data"
        elements = math.prod(shape)
        if field == "string_data":
            strings = proto[field]
            self._require(name, dtype, elements, dtype == "string" and len(strings) == elements)
            raw = partial(strings_as_bytes, strings)
            return Constant(name, dtype, shape, bits, partial(_strings, strings, shape), raw=raw)
        begin, end = proto.get(field, (0, 0))
        stored = Stored(begin, end, field)
        self._require(name, dtype, elements, self._fits(stored, name, dtype, bits, shape))
        return self._made(name, dtype, shape, bits, stored, self._here, "")

    def _made(
        self,
        name: str,
        dtype: str,
        shape: tuple[int, ...],
        bits: int,
        stored: Stored,
        place: Callable[[], Buffer],
        file: str,
    ) -> Constant:
        held = _Held(self, name, dtype, shape, (math.prod(shape) * bits + 7) // 8, stored, place)
        return Constant(name, dtype, shape, bits, held.load, file, raw=held.raw)

    def _fits(self, stored: Stored, name: str, dtype: str, bits: int, shape: tuple[int, ...]) -> bool:
        """Whether the bytes are those of as many elements as are declared."""
        held, elements = stored.end - stored.begin, math.prod(shape)
        needed = (elements * bits + 7) // 8
        if stored.field == "raw_data":
            return dtype != "string" and held == needed
        if TYPED_FIELD.get(dtype, "int32_data") != stored.field:
            return False
        if stored.field in _ELEMENT_BYTES:
            return held == needed
        # A number takes a byte at least: what cannot fit is not counted.
        entries = needed if bits < 8 else elements
        if entries > held:
            return False
        unfolded = elements * loaded_dtype(dtype).itemsize
        if unfolded > max(SMALL, MAX_UNFOLD * held):
            raise self.refused(name, f"unfolds from {held} bytes to {unfolded}; raw data would not")
        data = np.frombuffer(self.buffer, np.uint8, held, stored.begin)
        try:
            return numbers.count_packed(data, dtype) == entries
        except ValueError as error:
            raise self.refused(name, f"holds {error}") from error

    def _require(self, name: str, dtype: str, elements: int, fits: bool) -> None:
        if not fits:
            raise self.refused(
                name,
                f"declares {elements} element{'s' if elements != 1 else ''} of {dtype} and holds bytes for another number",
            )

    def _external(self, proto: Values, name: str, dtype: str, bits: int, shape: tuple[int, ...]) -> Constant:
        entries = proto.get("external_data", ())
        keys = [key for key, _ in entries]
        if len(keys) != len(set(keys)):
            raise FormatError(
                f"external data of {name!r} names a key twice",
                where=self.where, remedy="Export the model again", rule="ART107", tensor=name,
            )  # fmt: skip
        external = parse_external(dict(entries), name, self.where)
        needed = (math.prod(shape) * bits + 7) // 8
        self.side_files.add(external, needed, dtype, name)
        stored = Stored(external.offset, external.offset + needed)
        place = partial(self.side_files.open, external.location, stored.end, name)
        return self._made(name, dtype, shape, bits, stored, place, external.location)

    def refused(self, name: str, what: str) -> FormatError:
        """An error about one tensor."""
        return FormatError(
            f"tensor {name!r} {what}", where=self.where, remedy=_REMEDY, rule="ART105", tensor=name
        )


@dataclass(slots=True)
class _Held:
    """The numbers of one tensor, read when they are asked for."""

    reader: TensorReader
    name: str
    dtype: str
    shape: tuple[int, ...]
    needed: int
    stored: Stored
    place: Callable[[], Buffer]

    def load(self) -> NDArray[Any]:
        try:
            return numbers.load(self._buffer(), self.stored, self.dtype, self.shape)
        except ValueError as error:
            raise self.reader.refused(self.name, f"holds {error}") from error

    def raw(self) -> NDArray[np.uint8]:
        return numbers.raw_bytes(self._buffer(), self.stored, self.dtype, self.needed)

    def _buffer(self) -> Buffer:
        return self.place() if self.needed else b""


def _holds(proto: Values, field: str) -> bool:
    """Raw data count even where they are empty, for runtimes look for the field and not for its length."""
    if field in ("raw_data", "string_data"):
        return True
    begin, end = proto[field]
    return bool(end > begin)


NO_TEXT = "not UTF-8: "


def text_of(value: bytes) -> str:
    """Bytes as text; what is no UTF-8 is marked, and written as Python writes bytes.

    No two values have one text, for digests and comparisons go by it: text that begins like the mark is marked as well.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        return NO_TEXT + repr(value)[2:-1]
    return NO_TEXT + repr(value)[2:-1] if text.startswith(NO_TEXT) else text


def _strings(values: list[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    return np.array([text_of(value) for value in values], dtype=object).reshape(shape)
