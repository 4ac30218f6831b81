"""Reads data sets of columns through Apache Arrow: ``.parquet``, and ``datasets`` folders by their ``state.json``.

Hostile bytes, decoded in the sandboxed child only. Columns are numbers, lists of numbers of one shape, text, or images
by their bytes; never paths, and never a script. They are read a batch at a time; Arrow's own checks are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.arrow import DEPTH, PARQUET, dtype_of, fixed_id, is_image, is_text, list_ids, shard_names
from qgate.measure.data import MAX_SAMPLE_BYTES, MAX_SAMPLES, ArraySpec, named_array
from qgate.measure.images import decode
from qgate.measure.preprocessing import Preprocessing
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_GROUP_BYTES = 1 << 31
"""Largest row group of a ``.parquet``, unfolded, as it declares itself."""

_MAX_COLUMNS = 1000
_BATCH = 64
_THRIFT = 16 << 20


class ColumnarFile:
    """An opened data set of columns; a context manager, as ``data.NpzFile`` is.

    Args:
        path: The ``.parquet`` or ``state.json``.
        label: What messages call it.
        images: How columns of images are prepared; None where there are none.

    Raises:
        DataError: It cannot be read, or its columns are of kinds that no array is made of.
    """

    def __init__(self, path: Path, label: str = "", images: Preprocessing | None = None) -> None:
        import pyarrow

        self.label = label or str(path)
        self._path, self._images = path, images
        self._columns: dict[str, str] = {}
        pyarrow.set_memory_pool(pyarrow.system_memory_pool())
        try:
            self._shards = self._open()
            self._batches: Callable[[str], Iterator[Any]] = (
                self._parquet_batches if path.suffix.lower() == PARQUET else self._arrow_batches
            )
            self._schema, self.count = self._look()
            self.arrays = self._specs()
        except DataError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # Arrow's errors are of many classes
            raise self._damaged(error) from error

    def __enter__(self) -> ColumnarFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Maps of files go with the object."""

    def _open(self) -> list[Path]:
        if self._path.suffix.lower() == PARQUET:
            return [self._path]
        return [self._path.parent / name for name in shard_names(self._path, self.label)]

    def _look(self) -> tuple[Any, int]:
        """The schema, and how many samples there are."""
        if self._path.suffix.lower() == PARQUET:
            file = self._parquet()
            for i in range(file.metadata.num_row_groups):
                held = file.metadata.row_group(i).total_byte_size
                if held > MAX_GROUP_BYTES:
                    raise self._error(
                        f"has a row group of {held} bytes, more than {MAX_GROUP_BYTES}",
                        "Write it with smaller row groups",
                    )
            schema, count = file.schema_arrow, file.metadata.num_rows
        else:
            schema, count = None, 0
            for shard in self._shards:
                own, batches = self._stream(shard)
                if schema is not None and not own.equals(schema):
                    raise self._error(f"{shard.name} has other columns than the first file")
                schema = own
                count += sum(batch.num_rows for batch in batches)
        if (
            schema is None
            or not 0 < len(schema.names) <= _MAX_COLUMNS
            or len(set(schema.names)) != len(schema.names)
        ):
            raise self._error("has no columns of different names")
        if not 0 < count <= MAX_SAMPLES:
            raise self._error(f"has {count} samples", "Save at least one")
        return schema, count

    def _specs(self) -> dict[str, ArraySpec]:
        found = {}
        for name, kind in zip(self._schema.names, self._schema.types, strict=True):
            if is_text(kind):
                found[name] = ArraySpec((self.count,), np.dtype(str))
            elif is_image(kind):
                if self._images is not None:
                    shape = (self.count, *self._images.shape)
                    found[name] = ArraySpec(shape, np.dtype(self._images.dtype))
            elif (dtype := dtype_of(kind)) is not None:
                first = next(self._batches(name)).slice(0, 1)
                shape = self._numbers(first, name, None).shape[1:] if len(first) else ()
                spec = ArraySpec((self.count, *shape), dtype)
                if spec.sample_bytes > MAX_SAMPLE_BYTES:
                    raise self._error(f"one sample of the column {one_line(name, 80)!r} is too large")
                found[name] = spec
        if not found:
            raise self._error("has no column of numbers, lists of numbers, text or declared images")
        return found

    def spec(self, name: str, what: str) -> ArraySpec:
        """The header of a column that must exist.

        Raises:
            DataError: There is no such column; the nearest name is suggested.
        """
        return named_array(self.arrays, name, what, self.label)

    def whole(self, name: str, what: str) -> NDArray[Any]:
        """A small column as a whole: labels or slices.

        Raises:
            DataError: It is missing, too large or damaged.
        """
        spec = self.spec(name, what)
        if spec.sample_bytes * self.count > MAX_SAMPLE_BYTES:
            raise self._error(
                f"the column {one_line(name, 80)!r} for {what} is too large to be read as a whole"
            )
        return next(self.rows(name, [self.count]))

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the columns of images."""
        held = zip(self._schema.names, self._schema.types, strict=True)
        return tuple(name for name, kind in held if is_image(kind) and name in self.arrays)

    def rename(self, name: str, new: str) -> None:
        """Calls a column otherwise."""
        self.arrays[new], self._columns[new] = self.arrays.pop(name), name

    def ragged(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """A column of lists of lists: how many each sample has, and all of them, [lists, numbers].

        None where the column holds no lists of lists.

        Raises:
            DataError: It is missing, too large, or the inner lists differ in length.
        """
        kind = self._schema.field(self._columns.get(name, name)).type if name in self.arrays else None
        if kind is None or kind.id not in list_ids() or kind.value_type.id not in list_ids():
            self.spec(name, "labels")
            return None
        lengths, rows, held = [], [], 0
        for part in self._guarded(name):
            found = self._lists(name, part)
            held += found[1].nbytes
            if held > MAX_SAMPLE_BYTES:
                raise self._error(f"the column {one_line(name, 80)!r} is too large to be read as a whole")
            lengths.append(found[0])
            rows.append(found[1])
        width = max((each.shape[1] for each in rows), default=0)
        rows = [each.reshape(-1, width) if not len(each) else each for each in rows]
        if any(each.shape[1] != width for each in rows):
            raise self._error(f"the column {one_line(name, 80)!r} has lists of different lengths")
        return np.concatenate(lengths), np.concatenate(rows)

    def _lists(self, name: str, part: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        try:
            part.validate(full=True)
            if part.null_count:
                raise self._error(f"the column {one_line(name, 80)!r} has samples without a value")
            fixed = part.type.id == fixed_id()
            lengths = (
                np.full(len(part), part.type.list_size) if fixed else np.diff(part.offsets.to_numpy())
            ).astype(np.int64)
            values = self._numbers(part.flatten(), name, None)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # likewise
            raise self._damaged(error) from error
        if values.ndim != 2:
            raise self._error(f"the column {one_line(name, 80)!r} has lists of other lists than of numbers")
        return lengths, values.astype(np.float64)

    def rows(self, name: str, sizes: Iterable[int]) -> Iterator[NDArray[Any]]:
        """Consecutive samples of a column, as many at a time as ``sizes`` says.

        Raises:
            DataError: The column is damaged, holds nulls, or samples of different shapes.
        """
        batches, held, at = self._guarded(name), None, 0
        for size in sizes:
            parts: list[NDArray[Any]] = []
            while (missing := size - sum(map(len, parts))) > 0:
                if held is None or at >= len(held):
                    held, at = next(batches, None), 0
                    if held is None:
                        raise self._error(f"the column {one_line(name, 80)!r} ends early")
                    continue
                parts.append(self._array(name, held.slice(at, missing)))
                at += missing
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _guarded(self, name: str) -> Iterator[Any]:
        try:
            yield from self._batches(self._columns.get(name, name))
        except MemoryError:
            raise
        except Exception as error:  # Arrow's errors are of many classes
            raise self._damaged(error) from error

    def _array(self, name: str, part: Any) -> NDArray[Any]:
        try:
            part.validate(full=True)
            if part.null_count:
                raise self._error(f"the column {one_line(name, 80)!r} has samples without a value")
            if is_text(part.type):
                return np.array(part.to_pylist(), dtype=str)
            if is_image(part.type):
                return self._pictures(name, part)
            return self._numbers(part, name, self.arrays[name].shape[1:])
        except (DataError, MemoryError):
            raise
        except Exception as error:  # likewise
            raise self._damaged(error) from error

    def _pictures(self, name: str, part: Any) -> NDArray[Any]:
        if self._images is None:
            raise AssertionError("an array of images is declared")
        steps, found = self._images, []
        for position, each in enumerate(part):
            value = each.as_py()
            data = value.get("bytes") if isinstance(value, dict) else value
            if data is None:
                raise self._error(
                    f"the column {one_line(name, 80)!r} names images and does not hold them",
                    "Save it with datasets' save_to_disk, which embeds them",
                )
            found.append(decode(data, steps, f"{name}, {position} of its batch", self.label))
        return np.stack(found)

    def _numbers(self, part: Any, name: str, wanted: tuple[int, ...] | None) -> NDArray[Any]:
        """Nested lists of one shape as an array."""
        shape: list[int] = [len(part)]
        while (kind := part.type.id) in list_ids():
            if kind == fixed_id():
                size = part.type.list_size
            else:
                lengths = set(np.diff(part.offsets.to_numpy()).tolist())
                if len(lengths) > 1:
                    raise self._error(
                        f"the column {one_line(name, 80)!r} has lists of different lengths",
                        "Pad them to one length",
                    )
                size = lengths.pop() if lengths else 0
            shape.append(int(size))
            part = part.flatten()
            if part.null_count:
                raise self._error(f"the column {one_line(name, 80)!r} has lists with missing values")
        if len(shape) - 1 > DEPTH or (wanted is not None and tuple(shape[1:]) != wanted):
            raise self._error(
                f"the column {one_line(name, 80)!r} has samples of shape {shape[1:]} and {list(wanted or ())}",
                "Pad them to one shape",
            )
        values: NDArray[Any] = part.to_numpy(zero_copy_only=False).reshape(shape)
        return values

    def _parquet(self) -> Any:
        from pyarrow import parquet

        return parquet.ParquetFile(
            self._path,
            memory_map=True,
            thrift_string_size_limit=_THRIFT,
            thrift_container_size_limit=_THRIFT,
            page_checksum_verification=True,
        )

    def _parquet_batches(self, name: str) -> Iterator[Any]:
        for batch in self._parquet().iter_batches(batch_size=_BATCH, columns=[name], use_threads=False):
            yield batch.column(name)

    def _arrow_batches(self, name: str) -> Iterator[Any]:
        for shard in self._shards:
            for batch in self._stream(shard)[1]:
                yield batch.column(name)

    def _stream(self, shard: Path) -> tuple[Any, Iterator[Any]]:
        import pyarrow

        try:
            reader = pyarrow.ipc.open_stream(pyarrow.memory_map(str(shard)))
        except FileNotFoundError:
            raise self._error(
                f"{one_line(shard.name, 120)!r} is not there", "Keep the folder as it was written"
            ) from None
        return reader.schema, iter(reader)

    def _damaged(self, error: Exception) -> DataError:
        reason = one_line(str(error), 200) or type(error).__name__
        return self._error(f"cannot be read ({reason})")

    def _error(self, what: str, remedy: str = "Write the data set again") -> DataError:
        return DataError(what, where=self.label, remedy=remedy)
