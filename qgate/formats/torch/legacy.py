"""The form of torch.save before PyTorch 1.6: pickles and storages one after the other, no archive around.

A number, a version, facts of the machine, the object, the storages' keys, then each storage: its number
of elements in eight bytes, and its bytes. Source: torch/serialization.py, ``_legacy_save``.
"""

from __future__ import annotations

from pathlib import Path
from struct import unpack_from
from typing import Any

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.elements import BITS, Mapped
from qgate.formats.model import StaticModel
from qgate.formats.torch.checkpoint import reused, static_model, storage_of
from qgate.formats.torch.machine import Machine
from qgate.formats.torch.tensors import Place
from qgate.formats.torch.values import RefusedError, Storage

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


class LegacyStore:
    """Storages that follow the pickles; where each lies is known only after all have been read."""

    def __init__(self) -> None:
        self.used: dict[str, Storage] = {}

    def resolve(self, name: Any) -> Storage:
        """The storage of a persistent id.

        Raises:
            RefusedError: It is no storage, or a part of one.
        """
        found = storage_of(name, 6)
        if name[5] is not None:
            raise RefusedError("it refers to a part of a storage, as PyTorch before 0.4 did")
        return reused(self.used, found)


class _None:
    def resolve(self, name: Any) -> Storage:
        raise RefusedError("it refers to a storage before there are any")


def is_legacy(head: bytes) -> bool:
    """Whether a file begins with the number that such files begin with."""
    number = b"\x8a\x0a" + MAGIC.to_bytes(10, "little")
    return head[:1] == b"\x80" and number in (head[2:14], head[11:23])


def read_legacy(path: Path, file: Mapped) -> StaticModel:
    """Reads a checkpoint of the older form.

    Raises:
        FormatError: Damaged, ambiguous, or of a form that is not read.
        CodeError: It is a whole module, or names what a loader would run.
    """
    where, view = path.name, file.view
    at = 0
    for wanted in (MAGIC, VERSION, None):
        found, at = _next(view, where, at)
        if found != wanted if wanted is not None else not _is_little(found):
            raise _damaged("it does not begin as PyTorch's older checkpoints do", where)
    store = LegacyStore()
    machine = Machine(view, where, store, at)
    try:
        value = machine.run()
    except CodeError as error:
        raise CodeError(
            f"a PyTorch file that is more than tensors: {error.what}", where=where, kind="torch-module"
        ) from None
    keys, at = _next(view, where, machine.at)
    return static_model(path, file, value, _places(view, keys, store.used, at, where))


def _next(view: memoryview, where: str, at: int) -> tuple[Any, int]:
    machine = Machine(view, where, _None(), at)
    return machine.run(), machine.at


def _is_little(facts: Any) -> bool:
    return type(facts) is dict and facts.get("little_endian") is True


def _places(view: memoryview, keys: Any, used: dict[str, Storage], at: int, where: str) -> dict[str, Place]:
    """Where each storage lies; they must fill the rest of the file, and be those that tensors read."""
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise _damaged("its list of storages is none", where)
    if len(set(keys)) != len(keys) or set(keys) != set(used):
        raise _damaged("it holds other storages than its tensors read", where)
    places: dict[str, Place] = {}
    for key in keys:
        storage = used[key]
        if at + 8 > len(view) or unpack_from("<q", view, at) != (storage.elements,):
            raise _damaged(f"storage {key!r} has another number of elements than its tensors say", where)
        size = storage.elements * BITS[storage.dtype] // 8
        places[key] = Place(at + 8, size)
        at += 8 + size
    if at != len(view):
        raise _damaged(f"its storages end at byte {at} of {len(view)}", where)
    return places


def _damaged(what: str, where: str) -> FormatError:
    return FormatError(
        what, where=where, remedy="Save the model's state_dict again with torch.save", rule="ART104"
    )
