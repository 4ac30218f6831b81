"""Checkpoints of torch.save in its zip form: tensors, numbers and words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from qgate.errors import FormatError
from qgate.formats.code import CodeError
from qgate.formats.elements import BITS, Mapped
from qgate.formats.model import Graph, StaticModel
from qgate.formats.packing import packed_constants
from qgate.formats.torch.archive import Archive, read_archive
from qgate.formats.torch.flatten import flatten
from qgate.formats.torch.machine import Machine
from qgate.formats.torch.names import STORAGES, storage_class
from qgate.formats.torch.tensors import Place, constants_of
from qgate.formats.torch.values import Global, RefusedError, Storage, Wrapped

MAX_PICKLE = 64 * 2**20
_KNOWN = {
    "data.pkl", "version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id",
}  # fmt: skip
_DATA = re.compile(r"data/(0|[1-9][0-9]{0,9})")
_LOCATION = re.compile(r"[a-z]{2,16}(:[0-9]{1,4})?|")


class ArchiveStore:
    """Storages of a zip checkpoint: each a member of its own, of exactly its size."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.used: dict[str, Storage] = {}

    def resolve(self, name: Any) -> Storage:
        """The storage of a persistent id.

        Raises:
            RefusedError: It is no storage of this archive.
        """
        found = storage_of(name, 5)
        member = self.archive.members.get(f"data/{found.key}")
        if member is None or not _DATA.fullmatch(f"data/{found.key}"):
            raise RefusedError(f"it reads the storage {found.key[:40]!r}, which the archive does not have")
        if member.size != found.elements * BITS[found.dtype] // 8:
            raise RefusedError(
                f"the storage {found.key} has {member.size} bytes for {found.elements} of {found.kind}"
            )
        return reused(self.used, found)


def storage_of(name: Any, length: int) -> Storage:
    """A persistent id as PyTorch writes it: storage, class, key, location, elements.

    Raises:
        RefusedError: It is another one.
    """
    if type(name) is not tuple or len(name) != length or name[0] != "storage" or type(name[1]) is not Global:
        raise RefusedError("it refers to something outside that is no storage")
    kind = storage_class(name[1].name)
    _, _, key, location, elements = name[:5]
    if kind is None or type(key) is not str or type(location) is not str or type(elements) is not int:
        raise RefusedError("it refers to a storage in another way than PyTorch does")
    if not 0 <= elements < 2**48 or not _LOCATION.fullmatch(location):
        raise RefusedError("it refers to a storage of no size or place")
    return Storage(key, kind, STORAGES[kind], elements)


def reused(known: dict[str, Storage], found: Storage) -> Storage:
    """The storage of a key; readers keep the type that they saw first, so that it must stay the same."""
    before = known.setdefault(found.key, found)
    if before != found:
        raise RefusedError(f"it reads the storage {found.key} once as {before.kind} and once as {found.kind}")
    return before


def read_checkpoint(path: Path, file: Mapped) -> StaticModel:
    """Reads a zip checkpoint.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: Damaged, ambiguous, or of a form that is not read.
        CodeError: It is a whole module, or names what a loader would run.
    """
    where = path.name
    archive = read_archive(file.view, where)
    value, store = unpickled(archive, where)
    places = {
        key: Place(archive.members[f"data/{key}"].offset, archive.members[f"data/{key}"].size)
        for key in store.used
    }
    return static_model(path, file, value, places, damaged=tuple(archive.damaged()))


def unpickled(archive: Archive, where: str) -> tuple[Any, ArchiveStore]:
    """What the archive's pickle stands for, and the storages that it uses.

    Raises:
        FormatError: As for read_checkpoint.
    """
    _check_members(archive, where)
    data = archive.read("data.pkl")
    if len(data) > MAX_PICKLE:
        _refuse(f"its pickle has {len(data)} bytes ({MAX_PICKLE} at most)", where)
    store = ArchiveStore(archive)
    machine = Machine(data, where, store)
    try:
        value = machine.run()
    except CodeError as error:
        raise CodeError(
            f"a PyTorch file that is more than tensors: {error.what}", where=where, kind="torch-module"
        ) from None
    if machine.at != len(data):
        _refuse(f"{len(data) - machine.at} bytes follow the end of its pickle", where)
    unread = [
        n for n in archive.members if n.startswith("data/") and n.removeprefix("data/") not in store.used
    ]
    if unread:
        _refuse(f"no tensor reads the member {unread[0]!r} ({len(unread)} such members)", where)
    return value, store


def static_model(
    path: Path, file: Mapped, value: Any, places: Mapping[str, Place], *, damaged: tuple[str, ...] = ()
) -> StaticModel:
    """A checkpoint's contents as a model without a graph."""
    leaves = flatten(value, path.name)
    constants = packed_constants(constants_of(leaves.tensors, places, file, path.name), path.name)
    # Words of the file must not pass for ours.
    metadata = {key: word for key, word in leaves.words.items() if not key.startswith("qgate.")}
    if damaged:
        metadata["qgate.damaged"] = ", ".join(damaged[:8])
    if any(isinstance(each, Wrapped) for each in leaves.tensors.values()):
        metadata["qgate.torchao"] = "its tensors are of classes of torchao's"
    return StaticModel(
        path=path, format="torch-checkpoint",
        graph=Graph(inputs=(), outputs=(), nodes=(), constants=constants),
        opsets={}, ir_version=0, producer="PyTorch", metadata=metadata, functions=(), side_files={},
        file_bytes=len(file.view), root=leaves.root, state=leaves.state,
    )  # fmt: skip


def _check_members(archive: Archive, where: str) -> None:
    for name in archive.members:
        if name not in _KNOWN and not _DATA.fullmatch(name):
            _refuse(f"the member {name!r} belongs to no checkpoint", where)
    if "data.pkl" not in archive.members:
        _refuse("it has no data.pkl beside its other members", where)
    order = bytes(archive.read("byteorder")[:16]) if "byteorder" in archive.members else b"little"
    if order != b"little":
        raise FormatError(
            "its tensors are stored in another byte order than little-endian", where=where,
            remedy="Save it on a little-endian machine", rule="ART103",
        )  # fmt: skip


def _refuse(what: str, where: str) -> NoReturn:
    raise FormatError(
        what, where=where, remedy="Save the model's state_dict again with torch.save; do not merge this file",
        rule="ART105",
    )  # fmt: skip
