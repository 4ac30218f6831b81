"""Edges that were moved past operations, operands that were exchanged, weights of another size: told as what they are."""

from __future__ import annotations

import numpy as np
import pytest

from .test_walk import aligned

RNG = np.random.default_rng(5)
BLOCKS = {f"w{i}": RNG.normal(size=(8, 8)).astype(np.float32) for i in range(5)}
GRAPH = "g (float[1, 8] x) => (float[1, 8] y)"


def residual(*shortcuts: str) -> str:
    """A chain of blocks, each of which adds what its shortcut names."""
    lines = ["r0 = MatMul (x, w0)"]
    for i, shortcut in enumerate(shortcuts, 1):
        last = "y" if i == len(shortcuts) else f"r{i}"
        lines += [f"a{i} = MatMul (r{i - 1}, w{i})", f"{last} = Add ({shortcut}, a{i})"]
    return f"{GRAPH} {{{' '.join(lines)}}}"


HONEST = residual("r0", "r1", "r2", "r3")


@pytest.mark.parametrize(
    ("shortcuts", "operand", "passed"),
    [
        (("r0", "r1", "r1", "r3"), "r1", ["r2"]),
        (("r0", "r1", "r0", "r3"), "r0", ["r2", "r1"]),
        (("r0", "r1", "r2", "r2"), "r2", ["r3"]),
    ],
    ids=["one block", "two blocks", "the last block"],
)
def test_a_shortcut_past_blocks_is_one_difference_and_all_weights_stay_paired(
    shortcuts: tuple[str, ...], operand: str, passed: list[str], tmp_path
) -> None:
    found, one, two = aligned(tmp_path, HONEST, residual(*shortcuts), BLOCKS)
    (difference,) = found.differences
    assert difference.kind == "removed"
    assert f"reads '{operand}', past Add" in difference.message
    assert "the candidate has it and connects it otherwise" in difference.message
    assert [n.outputs[0] for n in difference.reference] == passed
    assert len(found.nodes) == len(one.nodes) == len(two.nodes)
    assert {(p.reference.name, p.candidate.name) for p in found.constants} == {(w, w) for w in BLOCKS}


def test_an_operation_that_is_gone_is_still_missing(tmp_path) -> None:
    theirs = residual("r0", "r1", "r2", "r3").replace("r2 = Add (r1, a2)", "r2 = Identity (a2)")
    found, _, _ = aligned(tmp_path, HONEST, theirs, BLOCKS)
    assert any("is missing in the candidate" in d.message for d in found.differences)


def test_other_weights_alone_part_no_blocks(tmp_path) -> None:
    """Another checkpoint of the same network is aligned all the same, so that its weights can be held against."""
    other = {name: RNG.normal(size=(8, 8)).astype(np.float32) for name in BLOCKS}
    found, one, _ = aligned(tmp_path, HONEST, HONEST, BLOCKS, other)
    assert found.differences == []
    assert len(found.nodes) == len(one.nodes)


def test_a_weight_of_another_size_is_named_with_both_shapes(tmp_path) -> None:
    ours = "g (float[1, 8] x) => (float[1, N] y) { p = MatMul (x, w0) q = Relu (p) y = MatMul (q, w1) }"
    wide = {**BLOCKS, "w1": np.ones((8, 6), np.float32)}
    found, one, _ = aligned(tmp_path, ours, ours, BLOCKS, wide)
    # Both nodes have no name in the file, so that the labels are those of their places.
    (difference,) = found.differences
    assert "has the weight 'w1' of shape [8, 6]" in difference.message
    assert "the reference's 'w1' there is of shape [8, 8]" in difference.message
    assert difference.evidence["tensor"] == "w1"
    assert [(p.reference.name, p.candidate.name) for p in found.constants] == [("w0", "w0")]
    assert len(found.nodes) == len(one.nodes)


def test_exchanged_operands_of_a_product_are_told(tmp_path) -> None:
    ours = "g (float[8, 8] x) => (float[8, 8] y) { p = MatMul (x, w0) q = Sigmoid (p) y = MatMul (q, w1) }"
    found, _, _ = aligned(tmp_path, ours, ours.replace("(q, w1)", "(w1, q)"), BLOCKS)
    assert any(
        "operands 0 and 1 of MatMul" in d.message and "are exchanged" in d.message for d in found.differences
    )
