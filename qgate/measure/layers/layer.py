"""What is compared, as data. Standard library only: it is part of the request that the child reads first."""

from __future__ import annotations

import math
from dataclasses import dataclass

CODES, VALUES = "codes", "values"

EAGER_BITS = 7
"""PyTorch's default calibration for x86 gives quint8 modules half of the codes, so that sums cannot saturate: the upper
half is there and may stay unused."""


@dataclass(frozen=True)
class Layer:
    """One pair of tensors.

    Args:
        reference: The reference's tensor, as its file names it.
        candidate: The candidate's: codes, or floating-point values.
        kind: ``codes`` or ``values``.
        node: The candidate's operation that makes it, in the file's own words; ``op`` what it does.
        scale: The candidate's tensor that holds the codes' scale; ``zero`` the zero point's, or empty.
        low: Least value that the codes stand for; ``high`` the greatest. Infinite for ``values``.
        dtype: The candidate's element type.
        axis: The axis that scales vary along; None for one scale.
        sampled: A sample of its values is kept; of the layers that hold the model's arithmetic.
        moved: It only moves the values of another layer: its range is looked at and no more.
        before: Positions of the layers that this one reads, through whatever lies between.
        shape: Sizes of the reference's tensor, a name for one that the file leaves free; empty where it declares none.
        channel: The axis of its channels, of layers whose channels are looked at one by one.
    """

    reference: str
    candidate: str
    kind: str
    node: str
    op: str
    scale: str = ""
    zero: str = ""
    low: float = -math.inf
    high: float = math.inf
    dtype: str = "float"
    axis: int | None = None
    sampled: bool = False
    moved: bool = False
    before: tuple[int, ...] = ()
    shape: tuple[int | str, ...] = ()
    channel: int | None = None

    @property
    def step(self) -> float:
        """Distance of two codes, of ``codes``."""
        return (self.high - self.low) / (2 ** (16 if self.dtype.endswith("16") else 8) - 1)

    @property
    def channels(self) -> int:
        """How many channels are looked at one by one."""
        return 0 if self.channel is None else int(self.shape[self.channel])
