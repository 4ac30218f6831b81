"""The registry of planted faults: what each is called, what must be said about it, and where it must point.

One small function plants one fault on an honest candidate. It returns the names (tensor, node, input, output,
``file`` or ``model``) of which the finding must give at least one. A fault that cannot be planted on a
candidate raises ``NoPlaceError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from tests.corpus import graph
from tests.corpus.honest import Recipe
from tests.corpus.models import FloatModel

INTEGER = ("qdq", "qop", "dynamic", "castmul")
STATIC = ("qdq", "qop")
QUANTIZED = (*INTEGER, "nbits", "half")
ANY = (*QUANTIZED, "float")


class NoPlaceError(Exception):
    """This candidate has no place for this fault."""


@dataclass(frozen=True)
class Subject:
    """An honest candidate about to be spoiled, and everything it was made from."""

    model: FloatModel
    recipe: Recipe
    candidate: onnx.ModelProto
    requantize: Callable[[FloatModel], onnx.ModelProto]
    retrain: Callable[[int], FloatModel]
    folder: Path
    rng: np.random.Generator

    def copy(self) -> onnx.ModelProto:
        return graph.clone(self.candidate)

    def weight(self, position: int = 0) -> graph.Weight:
        """The position-th largest quantized weight."""
        found = graph.weights(self.candidate)
        if len(found) <= position:
            raise NoPlaceError("no such weight")
        return found[position]


@dataclass(frozen=True)
class Planted:
    """What came out: the spoiled model (or None where the function wrote the files) and its truth."""

    model: onnx.ModelProto | None
    at: Sequence[str]
    detail: str = ""
    scheme: str = ""


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Args:
        id: Family letter, number and name; w weights, s scales, g graph, d disguise, i interface, f file.
        plant: From a subject to the spoiled model.
        forms: The candidate forms that it can be planted on.
        expected: ``fail`` or ``error``; both block, and the other is accepted where ``either``.
        either: Whether the other of the two is as good.
        runs: Whether onnxruntime must still load and run the file.
        debatable: Why a careful gate might let it pass with a warning.
        shows: Without any effect on the outputs there is no fault (a range that no value reaches).
    """

    id: str
    plant: Callable[[Subject], Planted]
    forms: tuple[str, ...] = ANY
    expected: str = "fail"
    either: bool = True
    runs: bool = True
    debatable: str = ""
    shows: bool = False

    @property
    def family(self) -> str:
        return self.id[0]


FAULTS: dict[str, Fault] = {}


def fault(identity: str, forms: Sequence[str] = ANY, **settings: object) -> Callable:
    """Registers the decorated function under an id."""

    def keep(plant: Callable[[Subject], Planted]) -> Callable[[Subject], Planted]:
        if identity in FAULTS:
            raise ValueError(f"two faults are called {identity}")
        FAULTS[identity] = Fault(identity, plant, tuple(forms), **settings)
        return plant

    return keep


def load_all() -> dict[str, Fault]:
    """Every fault of every family."""
    from tests.corpus import (  # noqa: F401
        faults_bomb,
        faults_disguise,
        faults_external,
        faults_file,
        faults_graph,
        faults_interface,
        faults_payload,
        faults_scale,
        faults_weight,
    )

    return FAULTS
