"""What the runtimes answered so far, and what is asked of the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qgate.formats.model import StaticModel
from qgate.measure.deployed.inputs import Materialised
from qgate.measure.deployed.request import RuntimeRequest
from qgate.measure.request import PairRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Runs:
    """What the runtimes answered.

    Args:
        request: The pair.
        candidate: The candidate's file, read statically.
        steps: Steps of quantized outputs, by the reference's names.
        inputs: What they were run on.
        outputs: By runtime, the candidate's outputs by name.
    """

    request: PairRequest
    candidate: StaticModel
    steps: Mapping[str, float]
    inputs: Materialised
    outputs: dict[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


def request_of(runs: Runs, runtime: str, taps: tuple[str, ...] = ()) -> RuntimeRequest:
    """The candidate in a runtime: on all samples, or on the first with inner tensors handed back."""
    request, inputs = runs.request, runs.inputs
    return RuntimeRequest(
        "run", runtime, request.candidate, request.side_files, inputs=inputs.path, names=inputs.names, types=inputs.types,
        single=request.dynamic, taps=taps, samples=1 if taps else inputs.samples,
    )  # fmt: skip
