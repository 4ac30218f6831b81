"""Digests of tensors and models: leaves, the tree over them, a tensor's root, a model's content digest. Pure.

A tensor's canonical bytes are cut into leaves of 1,024 elements. Each leaf has a BLAKE2b digest of 16
bytes (RFC 7693); they are joined in the tree of RFC 6962, section 2.1, with BLAKE2b digests of 32 bytes.
Leaves, nodes and roots are told apart by BLAKE2b's personalisation, so that no leaf can pass for a node.
The root binds element type, shape, quantization and SHA-256 of all bytes as well: the short leaves say
where something changed, and whether anything did rests on the full SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAF_ELEMENTS = 1024
LEAF_BYTES = 16
_LEAF, _NODE, _ROOT, _CONTENT = b"qgate leaf v1", b"qgate node v1", b"qgate root v1", b"qgate content v1"


@dataclass(frozen=True)
class TensorId:
    """What a root binds beside the values.

    Args:
        dtype: Element type, as in ``qgate.formats.model.Constant``.
        shape: Dimensions.
        quantization: How codes stand for numbers where the file keeps that with the tensor; else empty.
    """

    dtype: str
    shape: tuple[int, ...]
    quantization: str = ""

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for dimension in self.shape:
            size *= dimension
        return size

    @property
    def leaves(self) -> int:
        """How many leaves the values have: one for each 1,024 elements, begun ones included."""
        return -(-self.size // LEAF_ELEMENTS)


def leaf_digests(pieces: Iterable[bytes | memoryview]) -> bytes:
    """The digests of leaves, 16 bytes each, one after the other."""
    fresh = hashlib.blake2b(digest_size=LEAF_BYTES, person=_LEAF)
    found = bytearray()
    for piece in pieces:
        leaf = fresh.copy()
        leaf.update(piece)
        found += leaf.digest()
    return bytes(found)


def tree_top(leaves: bytes) -> bytes:
    """The top of the tree over leaf digests, 32 bytes.

    The tree of RFC 6962: the left part of every node is the largest power of two of leaves, which joining
    neighbours level by level gives where a last one without a neighbour moves up as it is.

    Args:
        leaves: Digests of 16 bytes each, one after the other; empty for a tensor without elements.
    """
    level: list[bytes] = [leaves[at : at + LEAF_BYTES] for at in range(0, len(leaves), LEAF_BYTES)]
    if not level:
        return _join(b"")
    if len(level) == 1:
        return _join(level[0])
    while len(level) > 1:
        joined = [_join(level[at] + level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = joined + level[len(joined) * 2 :]
    return level[0]


def _join(children: bytes) -> bytes:
    return hashlib.blake2b(children, digest_size=32, person=_NODE).digest()


def tensor_root(identity: TensorId, sha256: bytes, leaves: bytes) -> str:
    """A tensor's root as 43 characters of base64url; its name is bound one level up.

    Args:
        identity: Element type, shape and quantization.
        sha256: SHA-256 of the canonical bytes.
        leaves: Leaf digests, 16 bytes each.

    Raises:
        ValueError: The number of leaves is not that of the shape, or ``sha256`` is no SHA-256.
    """
    if len(leaves) != LEAF_BYTES * identity.leaves or len(sha256) != 32:
        raise ValueError(f"{len(leaves)} bytes of leaves for {identity.size} elements")
    digest = hashlib.blake2b(digest_size=32, person=_ROOT)
    for part in (identity.dtype, shape_text(identity.shape), identity.quantization):
        digest.update(token(part.encode("utf-8", "surrogatepass")))
    digest.update(sha256 + tree_top(leaves))
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")


def content_digest(graph: str, entries: Sequence[str]) -> str:
    """SHA-256 over a graph's digest and every tensor, as 64 hexadecimal digits.

    Args:
        graph: Digest of the graph.
        entries: One ``DTYPE SHAPE ROOT NAME`` for each tensor, in the order in which the graph uses them:
            the order is part of the wiring, for the graph's digest names no tensor.
    """
    digest = hashlib.sha256(token(_CONTENT) + token(graph.encode("ascii", "backslashreplace")))
    digest.update(len(entries).to_bytes(8, "little"))
    for entry in entries:
        digest.update(token(entry.encode("utf-8", "surrogatepass")))
    return digest.hexdigest()


def entry_text(identity: TensorId, root: str, name: str) -> str:
    """One tensor as ``DTYPE SHAPE ROOT NAME``; see ``parse_entry``."""
    return f"{identity.dtype} {shape_text(identity.shape)} {root} {name}"


@dataclass(frozen=True)
class Entry:
    """One tensor of a stored list: what ``entry_text`` wrote."""

    dtype: str
    shape: tuple[int, ...]
    root: str
    name: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return TensorId(self.dtype, self.shape).size


def parse_entry(text: str) -> Entry:
    """Reads ``DTYPE SHAPE ROOT NAME``.

    Raises:
        ValueError: It is not of that form.
    """
    parts = text.split(" ", 3)
    if len(parts) != 4 or len(parts[2]) != 43:
        raise ValueError(f"{text[:80]!r} is not DTYPE SHAPE ROOT NAME")
    dtype, shape, root, name = parts
    sizes = () if shape == "-" else tuple(shape.split("x"))
    if len(sizes) > 64 or not all(len(s) < 20 and s.isascii() and s.isdigit() for s in sizes):
        raise ValueError(f"{shape[:80]!r} is no shape")
    entry = Entry(dtype, tuple(map(int, sizes)), root, name)
    if shape_text(entry.shape) != shape:
        raise ValueError(f"{shape[:80]!r} is no shape")
    return entry


def shape_text(shape: Sequence[int]) -> str:
    """A shape as ``64x3x7x7``; ``-`` for a scalar."""
    return "x".join(map(str, shape)) or "-"


def token(part: bytes) -> bytes:
    """A part with its length before it, so that no two lists of parts give the same bytes."""
    return len(part).to_bytes(8, "little") + part


def leaf_runs(old: bytes, new: bytes) -> tuple[tuple[int, int], ...]:
    """Where two lists of leaves of one length differ: runs as (first leaf, last leaf).

    Raises:
        ValueError: They differ in length.
    """
    if len(old) != len(new):
        raise ValueError(f"{len(old)} and {len(new)} bytes of leaves")
    runs: list[tuple[int, int]] = []
    for leaf, at in enumerate(range(0, len(new), LEAF_BYTES)):
        if old[at : at + LEAF_BYTES] == new[at : at + LEAF_BYTES]:
            continue
        if runs and runs[-1][1] == leaf - 1:
            runs[-1] = (runs[-1][0], leaf)
        else:
            runs.append((leaf, leaf))
    return tuple(runs)


def elements_of(run: tuple[int, int], shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first and the last element of a run of leaves, as indices into the tensor."""
    size = TensorId("", tuple(shape)).size
    first, last = run[0] * LEAF_ELEMENTS, min((run[1] + 1) * LEAF_ELEMENTS, size) - 1
    return index_of(first, shape), index_of(last, shape)


def index_of(flat: int, shape: Sequence[int]) -> tuple[int, ...]:
    """The index of an element given by its place in C order."""
    index: list[int] = []
    for size in reversed(shape):
        flat, rest = divmod(flat, size)
        index.append(rest)
    return tuple(reversed(index))
