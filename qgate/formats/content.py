"""Content digests of a model: what it holds, whatever file it is held in.

Every tensor is read once, as its canonical bytes; memory-mapped values are read as they are hashed.
A second core takes SHA-256 of large tensors, and a part of the leaves.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from qgate.errors import FormatError
from qgate.formats.canonical import CanonicalModel, Slot, canonical_model
from qgate.formats.model import Constant, StaticModel
from qgate.formats.stored import Bytes, stored_bytes
from qgate.merkle import LEAF_ELEMENTS, TensorId, content_digest, entry_text, leaf_digests, tensor_root

_LARGE = 2**18
_UNLOCKED = 2**11
_ROOM = 16
_LEAST_ROOM = 2**26
_DEEPEST = 4


@dataclass(frozen=True)
class TensorContent:
    """One tensor's digests.

    Args:
        name: Its name, see ``Slot``.
        identity: Element type, shape, quantization.
        sha256: SHA-256 of its canonical bytes.
        leaves: Digests of its leaves, 16 bytes each.
    """

    name: str
    identity: TensorId
    sha256: bytes
    leaves: bytes = field(repr=False)

    @property
    def root(self) -> str:
        """The tensor's Merkle root."""
        return tensor_root(self.identity, self.sha256, self.leaves)

    @property
    def entry(self) -> str:
        """The tensor as ``DTYPE SHAPE ROOT NAME``."""
        return entry_text(self.identity, self.root, self.name)


@dataclass(frozen=True)
class ModelContent:
    """A model's digests.

    Args:
        graph: Digest of the canonical graph.
        tensors: In the order in which the graph uses them.
    """

    graph: str
    tensors: tuple[TensorContent, ...]

    @property
    def entries(self) -> tuple[str, ...]:
        """Every tensor as ``DTYPE SHAPE ROOT NAME``."""
        return tuple(tensor.entry for tensor in self.tensors)


def tensor_slots(model: StaticModel) -> tuple[Slot, ...]:
    """A model's tensors in canonical order, quantization parameters that are stored with one behind it."""
    return tuple(_with_parameters(canonical_model(model)))


def model_content(model: StaticModel) -> ModelContent:
    """The digests of a model's graph and tensors.

    Raises:
        FormatError: A tensor does not hold what it declares, or a node calls a function of the model's own
            whose body the reader did not put in its place.
    """
    called = sorted(
        {f"{n.domain or 'ai.onnx'}::{n.op}" for n in model.graph.all_nodes()} & set(model.functions)
    )
    if called:
        raise FormatError(
            f"the content of the model-local function {called[0]} is not read",
            where=model.path.name,
            remedy="Export the model with its functions inlined",
            rule="ART103",
        )
    canonical = canonical_model(model)
    slots = tuple(_with_parameters(canonical))
    with ThreadPoolExecutor(max_workers=1) as second:
        hashing = _Hashing(second, _LEAST_ROOM + _ROOM * model.file_bytes, model.path.name)
        return ModelContent(canonical.graph, tuple(hashing.tensor(slot) for slot in slots))


def content_of(model: StaticModel) -> str:
    """A model's content digest alone."""
    content = model_content(model)
    return content_digest(content.graph, content.entries)


def _with_parameters(canonical: CanonicalModel) -> Iterator[Slot]:
    for slot in canonical.slots:
        yield from _parts(slot, 0)


def _parts(slot: Slot, depth: int) -> Iterator[Slot]:
    yield slot
    stored = slot.constant.quantization
    if stored is None or depth >= _DEEPEST:
        return
    yield from _parts(Slot(f"{slot.name}.scale", stored.scale), depth + 1)
    if stored.zero_point is not None:
        yield from _parts(Slot(f"{slot.name}.zero_point", stored.zero_point), depth + 1)


def identity_of(constant: Constant) -> TensorId:
    """What a tensor's root binds beside its values."""
    stored = constant.quantization
    told = ""
    if stored is not None:
        zero = "zero" if stored.zero_point is not None else "symmetric"
        told = f"axis {stored.axis} block {stored.block} {zero}"
    return TensorId(constant.dtype, constant.shape, told)


@dataclass
class _Hashing:
    """The hashing of one model. A range of the file that many tensors share is hashed once."""

    second: ThreadPoolExecutor
    room: int
    where: str
    done: dict[tuple[str, int, int, int], tuple[bytes, bytes]] = field(default_factory=dict)

    def tensor(self, slot: Slot) -> TensorContent:
        """One tensor's digests.

        Raises:
            FormatError: It does not hold what it declares, or the tensors hold many times what the file does.
        """
        constant = slot.constant
        stored = stored_bytes(constant)
        place = _place(constant, stored)
        digests = self.done.get(place) if place is not None else None
        if digests is None:
            self.room -= stored.size
            if self.room < 0:
                raise FormatError(
                    f"its tensors hold more than {_ROOM} times the bytes of the file",
                    where=self.where,
                    remedy="Export the model again; do not merge this file",
                    rule="ART105",
                    tensor=slot.name,
                )
            digests = self.digests(constant, stored.data)
            if place is not None:
                self.done[place] = digests
        return TensorContent(slot.name, identity_of(constant), *digests)

    def digests(self, constant: Constant, values: memoryview) -> tuple[bytes, bytes]:
        """SHA-256 and leaves."""
        if len(values) < _LARGE:
            return hashlib.sha256(values).digest(), leaf_digests(_pieces(constant, values))
        whole = self.second.submit(lambda: hashlib.sha256(values).digest())
        own, rest = _shared(constant, values)
        later = self.second.submit(lambda: leaf_digests(_pieces(constant, rest)))
        leaves = leaf_digests(_pieces(constant, own)) + later.result()
        return whole.result(), leaves


def _place(constant: Constant, stored: Bytes) -> tuple[str, int, int, int] | None:
    """Where in which file a view lies, with its element's bits; None for values of their own."""
    base: object = stored.base
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if not isinstance(base, mmap.mmap) or constant.dtype == "string":
        return None
    offset = stored.ctypes.data - np.frombuffer(base, np.uint8, 1).ctypes.data
    return constant.file, offset, stored.size, constant.bits


def _shared(constant: Constant, values: memoryview) -> tuple[memoryview, memoryview]:
    """The leaves that this core makes, and those that the other makes once it has the SHA-256.

    BLAKE2b takes three times as long as SHA-256. Pieces below 2 KiB are hashed under the interpreter's
    lock, so that nothing is gained by sharing them.
    """
    step = LEAF_ELEMENTS * constant.bits // 8
    if step < _UNLOCKED:
        return values, values[:0]
    own = len(values) // step * 2 // 3 * step
    return values[:own], values[own:]


def _pieces(constant: Constant, values: memoryview) -> Iterator[memoryview]:
    """The canonical bytes of each leaf."""
    if constant.dtype == "string":
        yield from _string_pieces(values)
        return
    step = LEAF_ELEMENTS * constant.bits // 8
    for begin in range(0, len(values), step):
        yield values[begin : begin + step]


def _string_pieces(values: memoryview) -> Iterator[memoryview]:
    begin = at = count = 0
    while at < len(values):
        at += 8 + int.from_bytes(values[at : at + 8], "little")
        count += 1
        if count % LEAF_ELEMENTS == 0:
            yield values[begin:at]
            begin = at
    if begin < at:
        yield values[begin:at]
