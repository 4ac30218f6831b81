"""Inputs where there is no atheris: hypothesis takes seeds apart, repeats, splices and flips them."""

from __future__ import annotations

from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"\0" * 8,
    b"..",
    b"/",
    b"\n",
    b"9" * 40,
    b"NaN",
    b"{",
)


@st.composite
def mutations(draw: Any, inputs: list[bytes], length: int) -> bytes:
    """A seed after one to six changes."""
    data = bytearray(draw(st.sampled_from(inputs)) if inputs else draw(st.binary(max_size=64)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.integers(1, 32))
        match draw(st.integers(0, 6)):
            case 0:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = draw(st.binary(max_size=16))
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                data[at : at + size] = draw(st.sampled_from(INTERESTING))
            case 5:
                del data[at:]
            case _:
                other = draw(st.sampled_from(inputs)) if inputs else b""
                cut = draw(st.integers(0, len(other)))
                data[at:] = other[cut:]
    return bytes(data[:length])


def mutated(harness: Any, inputs: list[bytes], *, examples: int, seed: int) -> None:
    """Feeds so many mutations to a harness; the same ones for the same seed."""

    @hypothesis.seed(seed)
    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=False, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutations(inputs, harness.length))
    def feed(data: bytes) -> None:
        try:
            harness(data)
        except Exception as error:
            raise AssertionError(f"{harness.name} fails on {data!r}") from error

    feed()
