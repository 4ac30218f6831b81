"""The inputs that runtimes are compared on, written where each of them can read them, and what they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasureError
from qgate.formats.model import StaticModel
from qgate.measure.deployed.asking import ask
from qgate.measure.deployed.request import RuntimeRequest
from qgate.measure.request import PairRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FILE = "runtimes.npz"


@dataclass(frozen=True)
class Materialised:
    """Samples, and what ONNX Runtime says of them.

    Args:
        path: ``.npz`` with the inputs; arrays are ``i0``, ``i1`` and so on.
        names: The candidate's input to its array; ``arrays`` likewise of the reference's.
        types: Arrays whose dtype differs from what the candidate takes, to the dtype that it takes.
        shapes: The shape of one sample for each input of the candidate.
        candidate: Its outputs by name, in order, samples first; ``reference`` likewise by the reference's names.
        samples: How many samples.
        version: ONNX Runtime's version.
    """

    path: Path
    names: Mapping[str, str]
    arrays: Mapping[str, str]
    types: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    candidate: Mapping[str, NDArray[Any]]
    reference: Mapping[str, NDArray[Any]]
    samples: int
    version: str


def materialise(request: PairRequest, candidate: StaticModel, folder: Path) -> Materialised:
    """Runs the pair once more in ONNX Runtime on a few samples and keeps inputs and outputs.

    Args:
        request: The pair; its layers and task are not looked at.
        candidate: The candidate, for the ranks of its inputs.
        folder: Where the inputs are written, a folder that the child can read.

    Raises:
        MeasureError: ONNX Runtime failed, or its answer does not hold what it must.
    """
    where = request.label("candidate")
    answer, arrays = ask(
        RuntimeRequest("materialise", "onnxruntime", request.candidate, pair=request), request.limits, where
    )
    inputs = {name: values for (kind, name), values in arrays.items() if kind == "input"}
    outputs = {name: values for (kind, name), values in arrays.items() if kind == "candidate"}
    wanted = {each.name: each.shape for each in candidate.graph.inputs if each.name in answer.names}
    if not outputs or set(wanted) != set(answer.names) or not set(answer.names.values()) <= set(inputs):
        raise MeasureError(
            "the inputs and outputs of a sample are too large to be compared between runtimes", where=where
        )
    files = {name: f"i{position}" for position, name in enumerate(inputs)}
    path = folder / _FILE
    # Arrays are numbers by now; their names are the child's, so they get others.
    renamed: dict[str, Any] = {files[name]: values for name, values in inputs.items()}
    np.savez(path, **renamed)
    path.chmod(0o644)
    return Materialised(
        path,
        names={name: files[array] for name, array in answer.names.items()},
        arrays=files,
        types={files[ours]: dtype for ours, dtype in request.io_types.items() if ours in files},
        shapes={
            name: _one(inputs[array].shape, len(wanted[name] or ())) for name, array in answer.names.items()
        },
        candidate=outputs,
        reference={name: values for (kind, name), values in arrays.items() if kind == "reference"},
        samples=answer.samples,
        version=answer.version,
    )


def _one(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The shape that one sample is fed in: with an axis of samples where the input has one."""
    return (1, *shape[1:]) if len(shape) == rank else shape[1:]
