"""A whole ONNX file: from its bytes to a static model, with nothing executed and nothing copied."""

from __future__ import annotations

import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qgate.errors import FormatError
from qgate.formats.external import SideFiles
from qgate.formats.model import StaticModel
from qgate.formats.onnx.graphs import GraphReader
from qgate.formats.onnx.inline import inline
from qgate.formats.onnx.schema import SCHEMA
from qgate.formats.onnx.tensors import TensorReader
from qgate.formats.wire import Buffer, Decoder, Values

MAX_FILE = 2 * 2**30
MAX_DEPTH = 16
_DEPTH = 3 * MAX_DEPTH + 8
"""Messages within messages: a graph within a graph is three, a type within a graph up to eight."""
_LEAST_ROOM = 352 * 2**20
_MOST_ROOM = 2**32


def read_onnx(path: Path, *, check_side_files: bool = True) -> StaticModel:
    """Reads an ONNX file without executing anything.

    Args:
        path: The model; side files are looked for in its folder.
        check_side_files: False only to learn which side files a model names, before they are there.

    Raises:
        FormatError: Too large, damaged, ambiguous, or a tensor does not fit its bytes.
    """
    size = path.stat().st_size
    if size > MAX_FILE:
        raise FormatError(
            f"{size} bytes, more than the {MAX_FILE} that an ONNX file may have",
            where=path.name,
            remedy="Save the weights as external data",
            rule="ART104",
        )
    with path.open("rb") as file:
        # The mapping outlives the file's descriptor: constants are views of it.
        buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    side_files = SideFiles(path, check_side_files)
    proto = _decode(buffer, side_files)
    side_files.finish()
    opsets = _opsets(proto, path.name)
    _check_versions(proto, opsets, path.name)
    functions = proto.get("functions", [])
    inlined = inline(proto["graph"], functions, opsets, path.name)
    producer = f"{proto.get('producer_name', '')} {proto.get('producer_version', '')}".strip()
    return StaticModel(
        path=path,
        format="onnx",
        graph=inlined.graph,
        opsets=inlined.opsets,
        ir_version=proto.get("ir_version", 0),
        producer=producer,
        metadata=dict(proto.get("metadata_props", ())),
        functions=tuple(f"{f.domain or 'ai.onnx'}::{f.name}" for f in functions),
        side_files=dict(side_files.names),
        file_bytes=size + side_files.bytes,
        inlined=inlined.made,
        idle=inlined.idle,
    )


def _decode(buffer: Buffer, side_files: SideFiles) -> Values:
    where = side_files.path.name
    graphs = GraphReader(TensorReader(buffer, side_files, where))
    room = min(max(_LEAST_ROOM, 5 * len(buffer)), _MOST_ROOM)
    decoder = Decoder(buffer, SCHEMA, graphs.builders, where, room=room, depth=_DEPTH)
    with _no_collection():
        proto: Values = decoder.message("ModelProto", 0, len(buffer))
    if "graph" not in proto:
        raise decoder.damaged("it holds no graph")
    if proto.get("training_info"):
        raise graphs.refused("it holds graphs for training, which are not verified", "", "ART103")
    return proto


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without looking for cycles, which a reader makes none of and which takes a third of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _opsets(proto: Values, where: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for domain, version in proto.get("opset_import", ()):
        if found.setdefault(domain, version) != version:
            raise FormatError(
                f"it imports versions {found[domain]} and {version} of the operator set {domain or 'ai.onnx'!r}",
                where=where,
                remedy="Export the model again; do not merge this file",
                rule="ART105",
            )
    return found


def _check_versions(proto: Values, opsets: dict[str, int], where: str) -> None:
    """Versions that this reader knows; another one may give the same names other meanings."""
    import onnx

    newest = {
        "": onnx.defs.onnx_opset_version(),
        "ai.onnx.ml": max(row[3] for row in onnx.helper.VERSION_TABLE),
    }
    ir_version = proto.get("ir_version", 0)
    nodes = proto["graph"].nodes
    what = ""
    if nodes and not any(node.domain in opsets for node in nodes):
        what = "it imports no operator set, so its operators have no defined meaning"
    for domain, version in newest.items():
        if not 1 <= opsets.get(domain, 1) <= version:
            label = f"{domain} " if domain else ""
            what = f"{label}operator set {opsets[domain]}, where {version} is the newest that is known"
    if not what and not 1 <= ir_version <= onnx.IR_VERSION:
        what = f"IR version {ir_version}, where {onnx.IR_VERSION} is the newest that is known"
    if what:
        raise FormatError(
            what, where=where, remedy="Export the model again for a version that runtimes know", rule="ART103"
        )
