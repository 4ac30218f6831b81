"""Symbolic sizes: arithmetic of whole numbers and names passes, and nothing that could do more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgate.formats.torch.expression import MAX_DEPTH, MAX_LENGTH, is_plain_expression, symbol_of


@pytest.mark.parametrize(
    "text",
    [
        "s0", "3", "-1", "2*s0 + 1", "(s0 - 1)//2", "s0**2", "-(s0)", "s0 % 2", "Max(1, s0)", "FloorDiv(s0, 2)",
        "Symbol('s77', positive=True, integer=True)", "Mul(Integer(2), Symbol('s77', positive=True, integer=True))",
        "Mul(Integer(2), Pow(Symbol('s48', positive=True, integer=True), Integer(2)))", "Symbol('u0', integer=True)",
        "StrictGreaterThan(Symbol('s77', positive=True, integer=True), Integer(3))", "Add(s0, Integer(-1))",
    ],
)  # fmt: skip
def test_what_torch_export_writes(text: str) -> None:
    assert is_plain_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "__import__('os').system('true')", "s0.__class__", "(lambda: 0)()", "[s0]", "{1}", "s0 if 1 else 2",
        "open('x')", "eval('1')", "Symbol(s0)", "Symbol('s0', cls=True)", "Symbol('s0', integer=1)", "Symbol", "Mul",
        "Symbol('s0', positive=True", "1 2", "s0 s1", "'s0'", "s0;1", "s0\n1", "Function('f')(1)", "1e5", "0x10", "1.5",
        "f(1)", "Add()", "Add(1,)", "+1", "1 +", "*", "s0 := 1", "s0 and s1", "not s0", "s" * (MAX_LENGTH + 1), "9" * 30,
        "(" * (MAX_DEPTH + 2) + "1" + ")" * (MAX_DEPTH + 2), "s0\u0661", "Symbol('a b')", 'Symbol("s0")', "s0, s1",
        "Integer('1')", "\\", "#", "s0 = 1", "@", "~s0", "s0 & 1",
    ],
)  # fmt: skip
def test_what_could_do_more(text: str) -> None:
    assert not is_plain_expression(text)


@given(st.text(max_size=60) | st.text(alphabet="sA0123()+-*/%,=' \n_.[]{}\"", max_size=60))
def test_whatever_passes_is_made_of_numbers_names_and_signs(text: str) -> None:
    if is_plain_expression(text):
        import ast

        allowed = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Name, ast.Constant, ast.keyword,
                   ast.operator, ast.unaryop, ast.cmpop, ast.expr_context)  # fmt: skip
        for node in ast.walk(ast.parse(text.strip(), mode="eval")):
            assert isinstance(node, allowed)
            if isinstance(node, ast.Call):
                assert isinstance(node.func, ast.Name)


EXPRESSIONS = st.recursive(
    st.integers(0, 999).map(str) | st.sampled_from(["s0", "u1"]),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_arithmetic_passes(text: str) -> None:
    assert is_plain_expression(text)


def test_short_names_of_sizes() -> None:
    assert symbol_of("Symbol('s77', positive=True, integer=True)") == "s77"
    assert symbol_of("Mul(Integer(2), Symbol('s77', positive=True, integer=True))") == "Mul(2, s77)"
