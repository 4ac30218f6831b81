"""Roots and trees: what binds what, and the tree of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgate.merkle import (
    LEAF_BYTES,
    TensorId,
    content_digest,
    entry_text,
    leaf_digests,
    parse_entry,
    tensor_root,
    token,
    tree_top,
)

SHA = bytes(32)


def node(children: bytes) -> bytes:
    return hashlib.blake2b(children, digest_size=32, person=b"qgate node v1").digest()


def rfc6962(leaves: list[bytes]) -> bytes:
    """The definition: split at the largest power of two below the number of leaves."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node(rfc6962(leaves[:half]) + rfc6962(leaves[half:]))


@given(st.integers(2, 70))
def test_the_tree_is_that_of_rfc_6962(count: int) -> None:
    leaves = [hashlib.md5(bytes([i]), usedforsecurity=False).digest() for i in range(count)]
    assert tree_top(b"".join(leaves)) == rfc6962(leaves)


def test_leaves_nodes_and_nothing_are_told_apart() -> None:
    piece = b"x" * 1024
    leaf = leaf_digests([piece])
    assert len(leaf) == LEAF_BYTES
    assert leaf == hashlib.blake2b(piece, digest_size=16, person=b"qgate leaf v1").digest()
    assert leaf != node(piece)[:16]
    two = leaf_digests([piece, piece])
    tops = {tree_top(b""), tree_top(leaf), tree_top(two), tree_top(two + leaf), leaf_digests([two])}
    assert len(tops) == 5


@given(st.integers(1, 300), st.data())
def test_every_leaf_is_bound(count: int, data: st.DataObject) -> None:
    leaves = bytearray(b"".join(i.to_bytes(16, "little") for i in range(count)))
    top = tree_top(bytes(leaves))
    leaves[data.draw(st.integers(0, len(leaves) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert tree_top(bytes(leaves)) != top


def test_a_root_binds_type_shape_quantization_and_bytes() -> None:
    leaf = leaf_digests([b"abcd"])
    roots = {
        tensor_root(identity, sha, leaf)
        for identity, sha in (
            (TensorId("int8", (4,)), SHA),
            (TensorId("uint8", (4,)), SHA),
            (TensorId("int8", (2, 2)), SHA),
            (TensorId("int8", (4,), "axis 0 block 0 zero"), SHA),
            (TensorId("int8", (4,)), hashlib.sha256().digest()),
        )
    }
    assert len(roots) == 5
    assert all(len(root) == 43 for root in roots)


@pytest.mark.parametrize(("shape", "leaves"), [((), 1), ((0, 3), 0), ((1024,), 1), ((1025,), 2)])
def test_the_number_of_leaves_is_the_shapes(shape: tuple[int, ...], leaves: int) -> None:
    identity = TensorId("int8", shape)
    assert identity.leaves == leaves
    tensor_root(identity, SHA, bytes(16 * leaves))
    with pytest.raises(ValueError, match="leaves"):
        tensor_root(identity, SHA, bytes(16 * (leaves + 1)))


def test_the_content_binds_order_names_and_graph() -> None:
    one, two = ("int8 4 " + "a" * 43 + " w", "int8 4 " + "b" * 43 + " v")
    digests = {
        content_digest(graph, entries)
        for graph, entries in (
            ("g", (one, two)),
            ("g", (two, one)),
            ("h", (one, two)),
            ("g", (one,)),
            ("g", ()),
        )
    }
    assert len(digests) == 5
    assert content_digest("g", (one + two,)) != content_digest("g", (one, two))


@given(
    st.text("abcdef0123456789", min_size=1, max_size=9),
    st.lists(st.integers(0, 2**40), max_size=5),
    st.text(max_size=40),
)
def test_an_entry_reads_back(dtype: str, shape: list[int], name: str) -> None:
    text = entry_text(TensorId(dtype, tuple(shape)), "r" * 43, name)
    entry = parse_entry(text)
    assert (entry.dtype, entry.shape, entry.name) == (dtype, tuple(shape), name)


@pytest.mark.parametrize(
    "text",
    ["", "int8", "int8 4 short w", "int8 4x " + "r" * 43 + " w", "int8 -1 " + "r" * 43 + " w",
     "int8 04 " + "r" * 43 + " w", "int8 ² " + "r" * 43 + " w", f"int8 {'9' * 30} {'r' * 43} w",
     "int8 " + "x".join("1" * 65) + " " + "r" * 43 + " w"],
)  # fmt: skip
def test_what_is_no_entry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no shape|DTYPE"):
        parse_entry(text)


def test_parts_cannot_be_shifted() -> None:
    assert token(b"ab") + token(b"c") != token(b"a") + token(b"bc")
