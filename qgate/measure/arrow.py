"""Which files hold columns of Arrow's, and which kinds of columns arrays are made of. Standard library until it is imported."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from qgate.errors import DataError
from qgate.sandbox.quoting import one_line

PARQUET = ".parquet"
STATE = "state.json"
"""What ``datasets`` writes beside the ``.arrow`` files of one split, and what names them."""

MAX_STATE_BYTES = 4 << 20
MAX_FILES = 1000
DEPTH = 8
_NUMBERS = {"bool": "bool", "halffloat": "float16", "float": "float32", "double": "float64"} | {
    f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


def import_arrow() -> None:
    """Imports what reading needs, before nothing can be read any more."""
    # Its allocator starts a thread when it is loaded, and a process of several threads cannot be confined.
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    for name in ("pyarrow", "pyarrow.compute", "pyarrow.parquet"):
        importlib.import_module(name)


def is_columnar(path: Path) -> bool:
    """Whether a data set is read through Arrow."""
    return path.suffix.lower() == PARQUET or path.name == STATE


def shard_names(path: Path, label: str) -> list[str]:
    """The ``.arrow`` files that a ``state.json`` names, in order. Standard library only: the parent copies them.

    Raises:
        DataError: It is none, or names a file that is not an ``.arrow`` beside it.
    """

    def refuse(what: str) -> DataError:
        return DataError(what, where=label, remedy="Write the data set with datasets' save_to_disk")

    try:
        if path.stat().st_size > MAX_STATE_BYTES:
            raise refuse(f"has more than {MAX_STATE_BYTES >> 20} MiB")
        found = json.loads(path.read_bytes())["_data_files"]
        names = [each["filename"] for each in found]
    except OSError as error:
        raise refuse(f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise refuse(f"names no files of data ({type(error).__name__})") from error
    if not names or len(names) > MAX_FILES:
        raise refuse(f"names {len(names)} files, and 1 to {MAX_FILES} are read")
    for name in names:
        plain = isinstance(name, str) and name.isprintable() and not set(name) & set("/\\")
        if not plain or not name.endswith(".arrow") or name.startswith("."):
            raise refuse(f"names {one_line(str(name), 120)!r}, which is no .arrow file beside it")
    if len(set(names)) != len(names):
        raise refuse("names a file twice")
    return names


def list_ids() -> tuple[int, ...]:
    """Arrow's ids of lists."""
    from pyarrow import lib

    return (lib.Type_LIST, lib.Type_LARGE_LIST, lib.Type_FIXED_SIZE_LIST)


def fixed_id() -> int:
    """Arrow's id of lists of one length."""
    from pyarrow import lib

    return int(lib.Type_FIXED_SIZE_LIST)


def is_text(kind: Any) -> bool:
    """Whether a column is text."""
    return str(kind) in ("string", "large_string")


def is_image(kind: Any) -> bool:
    """Bytes, or ``datasets``' image: a record of bytes and a path."""
    if str(kind) in ("binary", "large_binary"):
        return True
    from pyarrow import lib

    if kind.id != lib.Type_STRUCT:
        return False
    fields = {kind.field(i).name: str(kind.field(i).type) for i in range(kind.num_fields)}
    return set(fields) == {"bytes", "path"} and fields["bytes"] in ("binary", "large_binary")


def dtype_of(kind: Any) -> np.dtype[Any] | None:
    """Element type of numbers, or of lists of them."""
    for _ in range(DEPTH + 1):
        if kind.id not in list_ids():
            name = _NUMBERS.get(str(kind))
            return None if name is None else np.dtype(name)
        kind = kind.value_type
    return None
