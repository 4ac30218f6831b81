"""Archives of torch.export (.pt2), read without PyTorch, which would unpickle and evaluate parts of them.

Layout: torch/export/pt2_archive, archive version 0: ``models/NAME.json`` is the program,
``data/weights`` and ``data/constants`` hold raw tensors with a table of where each lies.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

from qgate.errors import FormatError
from qgate.formats.boundedjson import read_json
from qgate.formats.code import CodeError
from qgate.formats.elements import Mapped, Span, spanned
from qgate.formats.model import Constant, Graph, StaticModel
from qgate.formats.torch.affine import quantized_constants
from qgate.formats.torch.archive import Archive, read_archive
from qgate.formats.torch.checkpoint import unpickled
from qgate.formats.torch.program import SCALAR_TYPES, read_program, with_constants

_NAME = r"[A-Za-z0-9_.-]{1,200}"
_KNOWN = re.compile(
    rf"archive_format|archive_version|byteorder|\.data/version|version|\.data/serialization_id|models/{_NAME}\.json"
    rf"|data/weights/({_NAME}_weights_config\.json|weight_\d{{1,9}})"
    rf"|data/constants/({_NAME}_constants_config\.json|tensor_\d{{1,9}})|data/sample_inputs/{_NAME}\.pt|extra/.*"
)
MAX_EXTRA = 2**20
_OBJECTS = re.compile(r"data/constants/(custom_obj|opaque_obj)_.*")


def read_export(path: Path, file: Mapped) -> StaticModel:
    """Reads an exported program with its weights.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: Damaged, ambiguous, or of a form that is not read.
        CodeError: It holds objects or expressions that a loader would run.
    """
    where = path.name
    archive = read_archive(file.view, where)
    name = _model_name(archive, where)
    program = read_program(
        read_json(archive.read(f"models/{name}.json"), "the exported program", where), where
    )
    held: dict[str, Constant] = {}
    used: set[str] = set()
    for folder, table in (("weights", "weights"), ("constants", "constants")):
        config = f"data/{folder}/{name}_{table}_config.json"
        if config not in archive.members:
            _refuse(f"it has no table of its {table}", where)
        entries = read_json(archive.read(config), f"the table of its {table}", where).get("config")
        for tensor, entry in _entries(entries, where):
            held[tensor] = _constant(tensor, entry, f"data/{folder}/", archive, file, used, where)
    unread = [n for n in archive.members if re.search(r"/(weight|tensor)_\d+$", n) and n not in used]
    if unread:
        _refuse(f"no tensor reads the member {unread[0]!r} ({len(unread)} such members)", where)
    _check_samples(archive, where)
    graph = with_constants(program, held, where)
    graph = Graph(graph.inputs, graph.outputs, graph.nodes, quantized_constants(graph), graph.types)
    damaged = ", ".join(list(archive.damaged())[:8])
    return StaticModel(
        path=path, format="torch-export", graph=graph, opsets={"torch": program.schema}, ir_version=0,
        producer=f"PyTorch {program.torch}".strip(), metadata={"qgate.damaged": damaged} if damaged else {},
        functions=(), side_files={}, file_bytes=len(file.view),
    )  # fmt: skip


def _model_name(archive: Archive, where: str) -> str:
    models = []
    for member in archive.members:
        if _OBJECTS.fullmatch(member):
            raise CodeError(
                f"the exported program comes with a pickled object ({member})",
                where=where,
                kind="torch-export",
            )
        if not _KNOWN.fullmatch(member):
            _refuse(f"the member {member!r} belongs to no exported program", where)
        if member.startswith("extra/") and not _is_text(archive.read(member)):
            _refuse(f"the member {member!r} is no text, and loaders hand out nothing else", where)
        if member.startswith("models/"):
            models.append(member.removeprefix("models/").removesuffix(".json"))
    if len(models) != 1:
        _refuse(f"it holds {len(models)} programs, and one is read", where)
    if bytes(archive.read("archive_format")[:8] if "archive_format" in archive.members else b"") != b"pt2":
        _refuse("it does not say that it is a pt2 archive", where)
    order = bytes(archive.read("byteorder")[:16]) if "byteorder" in archive.members else b"little"
    if order != b"little":
        _refuse("its tensors are stored in another byte order than little-endian", where)
    return models[0]


def _is_text(data: memoryview) -> bool:
    if len(data) > MAX_EXTRA:
        return False
    try:
        return "\0" not in str(data, "utf-8")
    except UnicodeDecodeError:
        return False


def _entries(found: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(found, dict) or any(not isinstance(entry, dict) for entry in found.values()):
        _refuse("its table of tensors is none", where)
    return list(found.items())


def _constant(
    name: str, entry: dict[str, Any], folder: str, archive: Archive, file: Mapped, used: set[str], where: str
) -> Constant:
    if entry.get("use_pickle") is not False:
        raise CodeError(
            f"the tensor {name[:80]!r} is stored as a pickle, which a loader runs without limits",
            where=where,
            kind="torch-export",
            tensor=name[:200],
        )
    if not name.isprintable() or len(name) > 512:
        _refuse("a tensor has a name that is too long or cannot be printed", where)
    meta, stored = entry.get("tensor_meta"), f"{folder}{entry.get('path_name')}"
    if not isinstance(meta, dict) or stored not in archive.members or not _KNOWN.fullmatch(stored):
        _refuse(f"the tensor {name!r} lies in no member of the archive", where)
    dtype = SCALAR_TYPES.get(meta["dtype"], "") if type(meta.get("dtype")) is int else ""
    if not dtype or meta.get("layout") != 7:
        raise FormatError(
            f"the tensor {name!r} is of a type or layout that is not read", where=where,
            remedy="Export the program with dense tensors of plain types", rule="ART103", tensor=name,
        )  # fmt: skip
    used.add(stored)
    member = archive.members[stored]
    shape, strides = _numbers(meta.get("sizes"), name, where), _numbers(meta.get("strides"), name, where)
    (start,) = _numbers([meta.get("storage_offset")], name, where)
    if len(shape) != len(strides):
        _refuse(f"the tensor {name!r} has other sizes than strides", where)
    return spanned(name, Span(file, member.offset, dtype, shape, strides, start), member.size, where)


def _numbers(found: Any, name: str, where: str) -> tuple[int, ...]:
    """Sizes that are plain numbers, as those of stored tensors always are."""
    held = found if isinstance(found, list) else [None]
    values = [entry.get("as_int") if isinstance(entry, dict) else None for entry in held]
    if any(type(value) is not int or value < 0 for value in values):
        _refuse(f"the tensor {name!r} has sizes that are no numbers", where)
    return tuple(int(value or 0) for value in values)


def _check_samples(archive: Archive, where: str) -> None:
    """Sample inputs are a checkpoint within the archive, which a loader opens without limits."""
    for member in archive.members:
        if member.startswith("data/sample_inputs/") and archive.members[member].size:
            inner = read_archive(archive.read(member), f"{where}/{member}")
            unpickled(inner, f"{where}/{member}")


def _refuse(what: str, where: str) -> NoReturn:
    raise FormatError(
        what, where=where, remedy="Export the program again; do not merge this file", rule="ART105"
    )
