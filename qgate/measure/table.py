"""Reads a data set from a table: a ``.csv`` whose columns are values, or paths of ``.npy`` files or images, one a sample.

Annotations in COCO's form are a table of images as well; see ``box_rows`` for boxes.

``label,image`` and a line for each sample, ``3,images/0001.npy``: hostile bytes, as ``data`` has them. Files are named
relative to the table, never above it; they are read one batch at a time, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import DataError
from qgate.measure.box_rows import IDS, RELATIVE
from qgate.measure.cells import holds_files, holds_images, read_samples, typed
from qgate.measure.data import MAX_SAMPLE_BYTES, ArraySpec, named_array
from qgate.measure.preprocessing import Preprocessing
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIX = ".csv"
FOLDER = ".folder"
"""Behind the name of a column of images: the class of each by the name of its folder."""

_MAX_HEADER = 10_000


class TableFile:
    """An opened table; a context manager, as ``data.NpzFile`` is.

    Args:
        path: The ``.csv``.
        label: What messages call it.
        images: How columns of images are prepared; without it their names are text.

    Raises:
        DataError: It is no table, is too large, or names files that are not there or of different shapes.
    """

    def __init__(self, path: Path, label: str = "", images: Preprocessing | None = None) -> None:
        self.label = label or str(path)
        self._folder = path.parent
        self._images = images
        columns, self._boxes = read_samples(path, self.label, images)
        self._pictures = {n: each for n, each in columns.items() if images is not None and holds_images(each)}
        self._files = {name: each for name, each in columns.items() if holds_files(each)}
        self._values = {
            name: typed(each)
            for name, each in columns.items()
            if name not in self._files and name not in self._pictures
        }
        if images is not None and self._boxes is None:
            for name, files in self._pictures.items():
                # One folder tells no classes.
                if images.classes or len({PurePosixPath(file).parent for file in files}) > 1:
                    self._values.setdefault(f"{name}{FOLDER}", self._folders(files, images))
        self.arrays = {name: ArraySpec(values.shape, values.dtype) for name, values in self._values.items()}
        if self._boxes is not None:
            self.arrays |= dict.fromkeys(
                self._boxes.names(), ArraySpec((len(self._boxes.lengths),), np.dtype(np.float64))
            )
        for name, files in self._files.items():
            spec = self._spec_of(name, files[0])[0]
            self.arrays[name] = ArraySpec((len(files), *spec.shape), spec.dtype)
        for name, files in self._pictures.items():
            if images is not None:
                self.arrays[name] = ArraySpec((len(files), *images.shape), np.dtype(images.dtype))

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open."""

    def spec(self, name: str, what: str) -> ArraySpec:
        """The header of a column that must exist.

        Raises:
            DataError: There is no such column; the nearest name is suggested.
        """
        return named_array(self.arrays, name, what, self.label)

    def whole(self, name: str, what: str) -> NDArray[Any]:
        """A small column as a whole: labels or slices.

        Raises:
            DataError: It is missing or too large.
        """
        spec = self.spec(name, what)
        if name in self._values:
            return self._values[name]
        if self._boxes is not None and name in self._boxes.names():
            raise self._error(
                f"{name!r} are boxes, which only a task of boxes has", "Name another task (map)"
            )
        if spec.sample_bytes * spec.shape[0] > MAX_SAMPLE_BYTES:
            raise self._error(
                f"the column {one_line(name, 80)!r} for {what} is too large to be read as a whole"
            )
        return next(self.rows(name, [spec.shape[0]]))

    def rows(self, name: str, sizes: Iterable[int]) -> Iterator[NDArray[Any]]:
        """Consecutive samples of a column, as many at a time as ``sizes`` says.

        Raises:
            DataError: A file is missing, damaged, or of another shape than the first.
        """
        start = 0
        for size in sizes:
            if name in self._values:
                yield self._values[name][start : start + size]
            else:
                files = self._pictures.get(name) or self._files[name]
                yield np.stack([self._sample(name, each) for each in files[start : start + size]])
            start += size

    corners = True
    """Labelled boxes are corners, however others are declared."""

    @property
    def pictures(self) -> tuple[str, ...]:
        """Names of the columns of images; without any, of those of ``.npy`` files."""
        return tuple(self._pictures or self._files)

    def rename(self, name: str, new: str) -> None:
        """Calls a column of images or files otherwise."""
        held = self._pictures if name in self._pictures else self._files
        held[new], self.arrays[new] = held.pop(name), self.arrays.pop(name)

    def ragged(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Labelled boxes: how many each sample has, and rows of corners, class and crowd; None where they are none.

        In pixels of the images as they are given to the model, where images are declared, or as shares of their size.

        Raises:
            DataError: An image cannot be read.
        """
        held = self._boxes
        if held is None or name not in held.names():
            return None
        rows = held.rows.copy()
        if name.endswith(IDS) and held.ids is not None:
            rows[:, 4] = held.ids
        relative = name.removesuffix(IDS).endswith(RELATIVE)
        files = next(iter(self._pictures.values()), None)
        if self._images is None or files is None:
            if relative:
                raise self._error(f"{name!r} are shares of an image's size, and no images are declared")
            return held.lengths, rows
        from qgate.measure.images import moved, size_of

        lengths, kept, ends = held.lengths.copy(), np.ones(len(rows), dtype=bool), np.cumsum(held.lengths)
        for i, (file, start, end) in enumerate(zip(files, ends - held.lengths, ends, strict=True)):
            if end > start:
                size = size_of(self._folder / file, file, self.label)
                rows[start:end, :4], kept[start:end] = moved(rows[start:end, :4], size, self._images)
                lengths[i] = np.count_nonzero(kept[start:end])
        if relative:
            height, width = self._images.size
            rows[:, :4] /= (width, height, width, height)
        return lengths, rows[kept]

    def _folders(self, files: list[str], images: Preprocessing) -> NDArray[Any]:
        """The class of each image by the name of its folder, as numbers in the declared or the sorted order."""
        names = [PurePosixPath(file).parent.name for file in files]
        order = images.classes or tuple(sorted(set(names)))
        unknown = sorted(set(names) - set(order))
        if unknown:
            raise self._error(
                f"has images in the folder {one_line(unknown[0], 80)!r}, which is none of the declared classes",
                "Name every folder under `data.images.classes`, in the order of the model's classes",
            )
        position = {name: i for i, name in enumerate(order)}
        return np.array([position[name] for name in names], dtype=np.int64)

    def _picture(self, name: str, file: str) -> NDArray[Any]:
        from qgate.measure.images import MAX_BYTES, decode

        if self._images is None:
            raise AssertionError(f"{name} is a column of images")
        try:
            with (self._folder / file).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise self._error(
                f"{one_line(file, 120)!r} of the column {one_line(name, 80)!r} cannot be read ({error.strerror})",
                "Name files relative to the table",
            ) from error
        return decode(data, self._images, file, self.label)

    def _sample(self, name: str, file: str) -> NDArray[Any]:
        if name in self._pictures:
            return self._picture(name, file)
        wanted = self.arrays[name]
        spec, start = self._spec_of(name, file)
        if (spec.shape, spec.dtype) != (wanted.shape[1:], wanted.dtype):
            raise self._error(
                f"{one_line(file, 120)!r} holds {spec.dtype} of shape {list(spec.shape)}, the first of the column "
                f"{one_line(name, 80)!r} {wanted.dtype} of shape {list(wanted.shape[1:])}",
                "Save every sample alike",
            )
        with (self._folder / file).open("rb") as stream:
            stream.seek(start)
            flat = np.frombuffer(stream.read(), dtype=spec.dtype)
        values: NDArray[Any] = flat.reshape(spec.shape, order="F" if spec.fortran else "C")
        return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))

    def _spec_of(self, name: str, file: str) -> tuple[ArraySpec, int]:
        """The header of one file, whose size agrees with it, and where its values begin."""
        shown = f"{one_line(file, 120)!r} of the column {one_line(name, 80)!r}"
        try:
            path = self._folder / file
            with path.open("rb") as stream:
                version = np.lib.format.read_magic(stream)
                reader = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }[version]
                shape, fortran, dtype = reader(stream, max_header_size=_MAX_HEADER)
                start = stream.tell()
            size = path.stat().st_size
        except FileNotFoundError:
            raise self._error(f"{shown} is not there", "Name files relative to the table") from None
        except Exception as error:  # numpy parses headers as Python, and raises whatever that raises
            reason = one_line(str(error), 150) or type(error).__name__
            raise self._error(f"{shown} cannot be read ({reason})", "Write it with numpy.save") from error
        if dtype.kind not in "biuf" or dtype.names is not None or dtype.subdtype is not None:
            raise self._error(
                f"{shown} holds {one_line(str(dtype), 60)}, no numbers", "Save plain numeric arrays"
            )
        total = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if any(each < 0 for each in shape) or total > MAX_SAMPLE_BYTES or size != start + total:
            raise self._error(
                f"{shown} declares {total} bytes and holds {size - start}", "Write it with numpy.save"
            )
        return ArraySpec(tuple(map(int, shape)), dtype, bool(fortran) and len(shape) > 1), start

    def _error(self, what: str, remedy: str = "Write the table again") -> DataError:
        return DataError(what, where=self.label, remedy=remedy)
