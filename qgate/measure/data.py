"""Reads a data set from ``.npz``: hostile bytes, in order, a few samples at a time.

``X.npz`` holds one array for each input of the reference, by the input's name, first axis the samples,
and beside them labels and slices. Nothing is unpickled; every size is checked before it is allocated; no
more than one batch of each array is in memory, compressed or not.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tokenize import TokenError
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.errors import DataError
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SAMPLE_BYTES = 1 << 30
"""Largest sample of one array, and largest array of labels or slices."""

MAX_UNFOLD = 4
"""How many times as large as the file a sample may be where it has more than ``SMALL_BYTES``."""

SMALL_BYTES = 1 << 28
MAP_BYTES = 1 << 23
"""Labels of so many bytes are mapped and not read as a whole, where the file stores them plainly."""

MAX_SAMPLES = 100_000_000
_MAX_MEMBERS = 1000
_MAX_DIRECTORY = 1 << 20
_MAX_HEADER = 10_000
_TAIL = 2**16 + 200
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, SyntaxError,
    TokenError, TypeError, KeyError, MemoryError,
)  # fmt: skip
"""What zipfile, zlib and numpy raise on damaged or hostile bytes: zipfile knows not every compression (NotImplementedError)
and no passwords (RuntimeError), numpy parses headers as Python (SyntaxError, TokenError)."""


@dataclass(frozen=True)
class ArraySpec:
    """An array as its header declares it.

    Args:
        shape: Full shape, the samples' axis first.
        dtype: Element type.
        fortran: Stored column by column.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool = False

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample."""
        return int(np.prod(self.shape[1:], dtype=object)) * self.dtype.itemsize


class DataFile(Protocol):
    """An opened data set: arrays by name, the samples first."""

    label: str
    arrays: dict[str, ArraySpec]

    def spec(self, name: str, what: str) -> ArraySpec:
        """The header of an array that must exist."""

    def whole(self, name: str, what: str) -> NDArray[Any]:
        """A small array as a whole."""

    def rows(self, name: str, sizes: Iterable[int]) -> Iterator[NDArray[Any]]:
        """Consecutive samples, as many at a time as ``sizes`` says."""


def named_array(arrays: Mapping[str, ArraySpec], name: str, what: str, where: str) -> ArraySpec:
    """The header of an array that must exist.

    Raises:
        DataError: There is no such array; the nearest name is suggested.
    """
    if name in arrays:
        return arrays[name]
    near = get_close_matches(name, arrays, n=1, cutoff=0.5)
    held = ", ".join(one_line(key, 60) for key in list(arrays)[:10])
    hint = f"Did you mean {one_line(near[0], 60)!r}? It" if near else "It"
    raise DataError(
        f"holds no array {one_line(name, 80)!r} for {what}", where=where, remedy=f"{hint} holds: {held}"
    )


class NpzFile:
    """An opened ``.npz``; a context manager.

    Args:
        path: The file.
        label: What messages call it.

    Raises:
        DataError: It is missing, no zip, damaged, or holds something other than plain arrays.
    """

    def __init__(self, path: Path, label: str = "") -> None:
        self.label = label or str(path)
        self._path = path
        self._zip = _open_zip(path, self.label)
        self._most = max(SMALL_BYTES, MAX_UNFOLD * path.stat().st_size)
        try:
            self._members = self._find_members()
            self.arrays = {name: self._read_spec(name) for name in self._members}
        except BaseException:
            self._zip.close()
            raise

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def _find_members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        infos = self._zip.infolist()
        if len(infos) > _MAX_MEMBERS:
            raise self._error(f"holds {len(infos)} members, more than {_MAX_MEMBERS}")
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name == info.filename:
                raise self._error(
                    f"holds {one_line(info.filename, 80)!r}, which is no array", "Write it with numpy.savez"
                )
            if name in found:
                raise self._error(f"holds the array {one_line(name, 80)!r} twice")
            if info.compress_type not in _COMPRESSIONS or info.flag_bits & 1:
                raise self._error(
                    f"the array {one_line(name, 80)!r} is encrypted or compressed in an unusual way",
                    "Write it with numpy.savez",
                )
            found[name] = info
        if not found:
            raise self._error("holds no arrays")
        return found

    def _read_spec(self, name: str) -> ArraySpec:
        with self._open(name) as stream:
            spec, start = self._read_header(name, stream)
        if spec.dtype.hasobject or spec.dtype.names is not None or spec.dtype.subdtype is not None:
            raise self._error(
                f"the array {one_line(name, 80)!r} holds Python objects or records",
                "Save plain numeric arrays; pickled data is never loaded",
            )
        total = int(np.prod(spec.shape, dtype=object)) * spec.dtype.itemsize
        held = self._members[name].file_size - start
        if held != total:
            raise self._error(
                f"the array {one_line(name, 80)!r} declares {total} bytes and holds {held}",
                "The file is truncated or altered; write it again with numpy.savez",
            )
        if spec.shape and (spec.sample_bytes > MAX_SAMPLE_BYTES or spec.shape[0] > MAX_SAMPLES):
            raise self._error(f"the array {one_line(name, 80)!r} of shape {spec.shape} is too large")
        if spec.sample_bytes > self._most:
            raise self._error(
                f"one sample of the array {one_line(name, 80)!r} has {spec.sample_bytes} bytes, more than "
                f"{MAX_UNFOLD} times the file",
                "Write it with numpy.savez, which does not compress",
            )
        return spec

    def _read_header(self, name: str, stream: IO[bytes]) -> tuple[ArraySpec, int]:
        """The header and the number of bytes before the data."""
        try:
            version = np.lib.format.read_magic(stream)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if reader is None:
                raise ValueError(f"version {version} of the npy format")
            shape, fortran, dtype = reader(stream, max_header_size=_MAX_HEADER)
        except _BROKEN as error:
            raise self._damaged(name, error) from error
        if any(size < 0 for size in shape):
            raise self._error(f"the array {one_line(name, 80)!r} declares a negative size")
        return ArraySpec(
            tuple(int(size) for size in shape), dtype, bool(fortran) and len(shape) > 1
        ), stream.tell()

    def _open(self, name: str) -> IO[bytes]:
        try:
            return self._zip.open(self._members[name])
        except _BROKEN as error:
            raise self._damaged(name, error) from error

    def spec(self, name: str, what: str) -> ArraySpec:
        """The header of an array that must exist.

        Raises:
            DataError: There is no such array; the nearest name is suggested.
        """
        return named_array(self.arrays, name, what, self.label)

    def whole(self, name: str, what: str) -> NDArray[Any]:
        """A small array as a whole: labels, slices or a constant.

        Raises:
            DataError: It is missing, too large or damaged.
        """
        spec = self.spec(name, what)
        total = int(np.prod(spec.shape, dtype=object)) * spec.dtype.itemsize
        if total > min(MAX_SAMPLE_BYTES, self._most):
            raise self._error(f"the array {one_line(name, 80)!r} for {what} has {total} bytes, too many")
        mapped = self._mapped(name, spec, total)
        if mapped is not None:
            return mapped
        with self._open(name) as stream:
            self._read_header(name, stream)
            flat = np.frombuffer(self._read(name, stream, total), dtype=spec.dtype)
        return _native(flat.reshape(spec.shape, order="F" if spec.fortran else "C"))

    def _mapped(self, name: str, spec: ArraySpec, total: int) -> NDArray[Any] | None:
        """A large array as a map of the file, which the kernel may drop from memory; None where it is not stored plainly.

        It is read once before, a piece at a time, because only reading compares it with the archive's checksum.
        """
        info = self._members[name]
        plain = info.compress_type == zipfile.ZIP_STORED and spec.dtype.isnative and not spec.fortran
        if total < MAP_BYTES or not plain:
            return None
        with self._open(name) as stream:
            start = self._read_header(name, stream)[1]
            left = total
            while left:
                left -= len(self._read(name, stream, min(left, 1 << 20)))
            if self._rest(name, stream):
                raise self._damaged(name, EOFError("there is more of it"))
        with self._path.open("rb") as file:
            file.seek(info.header_offset + 26)
            start += info.header_offset + 30 + sum(int.from_bytes(file.read(2), "little") for _ in range(2))
        return np.memmap(self._path, dtype=spec.dtype, mode="r", offset=start, shape=spec.shape)

    def rows(self, name: str, sizes: Iterable[int]) -> Iterator[NDArray[Any]]:
        """Consecutive samples of an array, as many at a time as ``sizes`` says.

        Raises:
            DataError: The array is damaged or stored column by column.
        """
        spec = self.arrays[name]
        if spec.fortran:
            raise self._error(
                f"the array {one_line(name, 80)!r} is stored column by column",
                "Save numpy.ascontiguousarray(array)",
            )
        with self._open(name) as stream:
            self._read_header(name, stream)
            for size in sizes:
                data = self._read(name, stream, size * spec.sample_bytes)
                flat: NDArray[Any] = np.frombuffer(data, dtype=spec.dtype)
                yield _native(flat.reshape(size, *spec.shape[1:]))

    def _read(self, name: str, stream: IO[bytes], wanted: int) -> bytes:
        try:
            data = stream.read(wanted) if wanted else b""
        except _BROKEN as error:
            raise self._damaged(name, error) from error
        if len(data) != wanted:
            raise self._damaged(name, EOFError("the data ends early"))
        return data

    def _rest(self, name: str, stream: IO[bytes]) -> bytes:
        """What is left of a member; at its end the archive's checksum has been compared."""
        try:
            return stream.read(1)
        except _BROKEN as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> DataError:
        reason = one_line(str(error), 150) or type(error).__name__
        return self._error(
            f"the array {one_line(name, 80)!r} cannot be read ({reason})",
            "Write the file again with numpy.savez",
        )

    def _error(self, what: str, remedy: str = "Write the file again with numpy.savez") -> DataError:
        return DataError(what, where=self.label, remedy=remedy)


def windows(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Consecutive samples of an array that may be a map of a file, about 16 MiB at a time."""
    step = max(1, (1 << 24) // max(array.nbytes // max(len(array), 1), 1))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the machine's byte order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _open_zip(path: Path, label: str) -> zipfile.ZipFile:
    def refuse(what: str, remedy: str) -> DataError:
        return DataError(what, where=label, remedy=remedy)

    try:
        if path.is_dir():
            raise refuse("is a directory", "Name the .npz file itself")
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise refuse(
            f"the inputs cannot be read ({error.strerror})", "Check the path of the .npz file"
        ) from error
    if not head:
        raise refuse("the file of inputs is empty", "Write it with numpy.savez")
    if head.startswith(b"version https://git-lfs"):
        raise refuse("is a Git LFS pointer, not the data", "Run `git lfs pull`")
    if head.startswith(b"\x93NUMPY"):
        raise refuse(
            "is a single .npy array", "Save it by the input's name: numpy.savez(path, input_name=array)"
        )
    if not head.startswith(b"PK"):
        raise refuse("is not an .npz file (not a zip archive)", "Write it with numpy.savez")
    if _directory_bytes(path) > _MAX_DIRECTORY:
        raise refuse(
            f"has a zip directory of more than {_MAX_DIRECTORY} bytes",
            "Write it with numpy.savez, a few arrays a file",
        )
    try:
        return zipfile.ZipFile(path)
    except _BROKEN as error:
        reason = one_line(str(error), 150)
        raise refuse(
            f"is a damaged or truncated .npz file ({reason})", "Write it again with numpy.savez"
        ) from error


def _directory_bytes(path: Path) -> int:
    """Length of the zip's directory, which zipfile reads and unfolds as a whole; found as zipfile finds it."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _TAIL))
        tail = stream.read(_TAIL)
    at = len(tail) - 22
    if tail[at : at + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":
        at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return 0  # zipfile will say so
    record = at - 76
    if (
        record >= 0
        and tail[at - 20 : at - 16] == b"PK\x06\x07"
        and tail[record : record + 4] == b"PK\x06\x06"
    ):
        return int.from_bytes(tail[record + 40 : record + 48], "little")
    return int.from_bytes(tail[at + 12 : at + 16], "little")
