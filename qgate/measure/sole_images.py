"""The only images of a data set, or its only column of files, feed the only input of a model, whatever both are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from qgate.measure.data import DataFile
from qgate.sandbox.quoting import one_line


def feed_sole_images(file: DataFile, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Calls them as the model calls its input, where the data have nothing of that name.

    Args:
        file: The opened data set.
        wanted: Names of the arrays that the model's inputs ask for.

    Returns:
        A remark for the reader, where it was done.
    """
    names = list(wanted)
    pictures: tuple[str, ...] = getattr(file, "pictures", ())
    rename = getattr(file, "rename", None)
    if len(names) == len(pictures) == 1 and names[0] not in file.arrays and rename is not None:
        rename(pictures[0], names[0])
        told = f"the samples of {one_line(pictures[0], 60)!r} feed the only input, {one_line(names[0], 60)!r}"
        yield "data", told
