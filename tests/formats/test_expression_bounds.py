"""Sizes of exported programs: what is accepted can be evaluated by anybody, in no time."""

from __future__ import annotations

import pytest

from qgate.formats.torch.expression import is_plain_expression


@pytest.mark.parametrize(
    "text",
    [
        "2*s0 + 1",
        "(s0 - 1)//2",
        "s0**2",
        "s0**-1",
        "s0**Integer(2)",
        "Pow(Symbol('s0', positive=True, integer=True), Integer(-1))",
        "Mul(Integer(2), Symbol('s0', positive=True, integer=True))",
    ],
)
def test_arithmetic_as_torch_writes_it_is_plain(text: str) -> None:
    assert is_plain_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "10**10**9",
        "10**5",
        "10**(10)",
        "10**s0",
        "Pow(10, Pow(10, 9))",
        "Pow(10, 1000)",
        "10**Integer(9)",
        "+".join(["s0**2"] * 9),
        "__import__",
        "lambda",
        "s0.__class__",
        "007",
        "s0 \x0b+ 1",
        "",
    ],
)
def test_what_grows_without_end_or_means_more_is_not(text: str) -> None:
    assert not is_plain_expression(text)
