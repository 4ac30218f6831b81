"""Who can run a model: the one interface that every runtime offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from qgate.errors import MeasureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Dim = int | str | None
"""A fixed size, a symbol, or unknown."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the runtime declares it.

    Args:
        name: Its name in the model.
        dtype: numpy's name of the element type; the runtime's own where numpy has none.
        shape: Dimensions, fixed or symbolic.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]


class ModelRefusedError(MeasureError):
    """A runtime would not load or run a model.

    Args:
        message: The runtime's own words, on one line.
        cause: ``refused``, or ``memory`` where it could not allocate.
    """

    def __init__(self, message: str, cause: Literal["refused", "memory"] = "refused") -> None:
        super().__init__(message)
        self.cause = cause


class Runner(Protocol):
    """A loaded model. ``run`` may be called from several threads at once."""

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """What it takes, without inputs that have a default."""

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        """What it returns, without taps."""

    @property
    def taps(self) -> Sequence[str]:
        """Inner tensors that ``run`` returns after the outputs."""

    @property
    def reduced(self) -> bool:
        """Whether the runtime had to leave out optimisations in order to load it."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; returns the outputs in order, then the taps.

        Raises:
            ModelRefusedError: The runtime fails on these inputs.
        """
