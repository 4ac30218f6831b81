"""Operands that stand in another order: told once, by the operation that reads them, and only where order matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from qgate.align.walk import align
from qgate.formats.read import read_model
from qgate.quant.alignment import Alignment
from qgate.quant.build import float_view

RNG = np.random.default_rng(1)
HELD = {
    **{name: RNG.standard_normal((4, 4)).astype(np.float32) for name in ("w", "v", "u")},
    "wide": RNG.standard_normal((12, 4)).astype(np.float32),
    "half": np.float32(0.5),
    "one": np.array([1], np.int64),
}
HEAD = '<ir_version: 9, opset_import: ["" : 17, "com.microsoft": 1]> g (float[4,4] x, float[4,4] z) => (float[4,4] y)'
# What stands above the two operands: other inputs, other weights alone, a clipping activation more.
ABOVE = {
    "inputs": "a = MatMul(x, w) b = MatMul(z, v)",
    "activations": "a = Relu(x) b = Relu(z)",
    "weights": "m = MatMul(x, w) n = MatMul(x, v) a = Sigmoid(m) b = Sigmoid(n)",
    "chain": "a = MatMul(x, w) b = Relu(a)",
}
ORDERED = {
    "Sub": "y = Sub({0}, {1})", "Div": "y = Div({0}, {1})", "Pow": "y = Pow({0}, {1})", "MatMul": "y = MatMul({0}, {1})",
    "Gemm": "y = Gemm({0}, {1})", "PRelu": "y = PRelu({0}, {1})", "Mod": "y = Mod<fmod=1>({0}, {1})",
    "Einsum": 'y = Einsum<equation="ij,jk->ik">({0}, {1})', "FusedMatMul": "y = com.microsoft.FusedMatMul({0}, {1})",
    "Where": "k = Less(x, z) y = Where(k, {0}, {1})", "Less": "k = Less({0}, {1}) y = Where(k, x, z)",
    "Greater": "k = Greater({0}, {1}) y = Cast<to=1>(k)", "GreaterOrEqual": "k = GreaterOrEqual({0}, {1}) y = Where(k, x, z)",
    "LessOrEqual": "k = LessOrEqual({0}, {1}) y = Where(k, x, z)",
    "Concat": "e = Tanh(x) c = Concat<axis=1>({0}, e, {1}) y = MatMul(c, wide)",
}  # fmt: skip


def aligned(folder: Path, *bodies: str) -> Alignment:
    views = []
    for number, body in enumerate(bodies):
        proto = onnx.parser.parse_model(f"{HEAD} {{ {body} }}")
        read = {name for node in proto.graph.node for name in node.input}
        for name in sorted(read & set(HELD)):
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(HELD[name]), name))
        for position, node in enumerate(proto.graph.node):
            node.name = f"n{position}_{node.op_type}"
        onnx.checker.check_model(proto)
        onnx.save(proto, folder / f"{number}.onnx")
        views.append(float_view(read_model(folder / f"{number}.onnx")))
    return align(*views, {}, {})


def both(above: str, operation: str) -> tuple[str, str]:
    return f"{above} {operation.format('a', 'b')}", f"{above} {operation.format('b', 'a')}"


@pytest.mark.parametrize("above", ABOVE)
@pytest.mark.parametrize("op", ORDERED)
def test_exchanged_operands_are_told_once(op: str, above: str, tmp_path: Path) -> None:
    found = aligned(tmp_path, *both(ABOVE[above], ORDERED[op]))
    assert len(found.differences) == 1, [d.message for d in found.differences]
    difference = found.differences[0]
    assert (difference.kind, difference.candidate[0].op) == ("wiring", op)
    assert difference.message.endswith("are exchanged")
    assert difference.message.startswith(
        f"operands {'1 and 2' if op == 'Where' else '0 and 2' if op == 'Concat' else '0 and 1'}"
    )
    # What stands above is compared with its own counterpart, so that no weight is called another.
    for pair in found.constants:
        assert np.array_equal(pair.reference.values(), pair.candidate.values()), pair.reference.name


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a = Relu(x) y = Sub(a, half)", "a = Relu(x) y = Sub(half, a)"),
        ("a = Relu(x) y = MatMul(a, w)", "a = Relu(x) y = MatMul(w, a)"),
        ("a = Relu(x) y = Gemm(a, w)", "a = Relu(x) y = Gemm(w, a)"),
        ("k = Less(x, z) y = Where(k, x, half)", "k = Less(x, z) y = Where(k, half, x)"),
        ("y = Sub(x, z)", "y = Sub(z, x)"),
        ("a = Relu(x) b = Relu(a) y = Div(a, b)", "a = Relu(x) b = Relu(a) y = Div(b, a)"),
    ],
)
def test_a_constant_or_an_input_in_the_other_place(one: str, two: str, tmp_path: Path) -> None:
    (difference,) = aligned(tmp_path, one, two).differences
    assert difference.message.endswith("are exchanged")


def test_a_rotation_of_three(tmp_path: Path) -> None:
    above = "a = MatMul(x, w) b = MatMul(x, v) e = MatMul(x, u)"
    (difference,) = aligned(
        tmp_path,
        f"{above} c = Concat<axis=1>(a, b, e) y = MatMul(c, wide)",
        f"{above} c = Concat<axis=1>(b, e, a) y = MatMul(c, wide)",
    ).differences
    assert "stand in another order (the reference's 0 at 2, 1 at 0, 2 at 1)" in difference.message


@pytest.mark.parametrize("op", ["Add", "Mul", "Min", "Max", "Sum", "Mean"])
@pytest.mark.parametrize("above", ABOVE)
def test_order_means_nothing_where_the_operation_does_not_mind(op: str, above: str, tmp_path: Path) -> None:
    found = aligned(tmp_path, *both(ABOVE[above], f"y = {op}({{0}}, {{1}})"))
    assert found.differences == []
    for pair in found.constants:
        assert np.array_equal(pair.reference.values(), pair.candidate.values()), pair.reference.name


@pytest.mark.parametrize("op", ORDERED)
def test_the_same_order_is_none(op: str, tmp_path: Path) -> None:
    for above in ABOVE.values():
        one, _ = both(above, ORDERED[op])
        assert aligned(tmp_path, one, one).differences == []
