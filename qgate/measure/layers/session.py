"""Both models while they run on the same samples: outputs, and every layer's figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from qgate.measure.layers.comparison import figures_name, reference_name, sizes_name
from qgate.measure.layers.figures import Figures, LayersError, Reader
from qgate.measure.layers.layer import Layer
from qgate.measure.layers.ledger import sizes_of
from qgate.measure.layers.statistics import LayerRecord
from qgate.measure.side import NoBatchError, PerSample, Side, piece_of, put_together
from qgate.runtimes.base import ModelRefusedError, Runner
from qgate.runtimes.onnxruntime import OnnxRuntimeRunner

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Chunk = Mapping[str, NDArray[Any]]

ROLES = ("reference", "candidate")


def release(runner: Runner) -> None:
    """Gives a model's memory back where its runtime can load it again when it is next run."""
    if isinstance(runner, OnnxRuntimeRunner):
        runner.release()


class PairModel(Protocol):
    """Both models, loaded so that their layers can be compared."""

    def run(self, feeds: Mapping[str, Mapping[str, NDArray[Any]]]) -> tuple[dict[str, list[Any]], Figures]:
        """Runs both once.

        Args:
            feeds: What each role is fed, by the names of its inputs.

        Returns:
            Each role's outputs in order, and the figures of all layers.

        Raises:
            ModelRefusedError: The runtime fails on these inputs.
        """


class JoinedModel:
    """Both models in one session; see ``join``.

    Args:
        runner: Its outputs are the reference's, the candidate's, then the layers' figures and sizes.
        mark: What every name begins with in it that the candidate does not have.
        layers: What is compared.
        counts: How many outputs the reference and the candidate have.

    Raises:
        LayersError: The session returns something else.
    """

    def __init__(self, runner: Runner, mark: str, layers: Sequence[Layer], counts: tuple[int, int]) -> None:
        names = [figures_name(mark, position) for position in range(len(layers))]
        names += [sizes_name(mark, position) for position in sizes_of(layers)[0]]
        if [info.name for info in runner.outputs][sum(counts) :] != names:
            raise LayersError("the joined model does not return what was asked of it")
        self._runner, self._mark, self._counts = runner, mark, counts
        self._reader, self._layers = Reader(layers), len(layers)

    def run(self, feeds: Mapping[str, Mapping[str, NDArray[Any]]]) -> tuple[dict[str, list[Any]], Figures]:
        """Runs both once; see ``PairModel.run``."""
        ours = {reference_name(self._mark, name): values for name, values in feeds["reference"].items()}
        results = self._runner.run({**feeds["candidate"], **ours})
        middle, end = self._counts[0], sum(self._counts)
        sizes = end + self._layers
        figures = self._reader.read(results[end:sizes], results[sizes:])
        return {"reference": results[:middle], "candidate": results[middle:end]}, figures


@dataclass
class LayerSession:
    """Both models and how they are fed.

    Args:
        load: Loads both models so that their layers can be compared.
        sides: Reference and candidate, which say how each is fed.
        apart: They are too large to be held twice: the sides' own sessions are given back while this one is loaded.
    """

    load: Callable[[], PairModel]
    sides: Mapping[str, Side]
    apart: bool = False
    _model: PairModel | None = None

    def begin(self) -> PairModel:
        """Loads the models, where they are not loaded.

        Raises:
            LayersError: They cannot be loaded like that.
        """
        if self._model is None:
            if self.apart:
                for side in self.sides.values():
                    release(side.runner)
            self._model = self.load()
        return self._model

    def close(self) -> None:
        """Gives their memory back."""
        self._model = None

    def step(self, count: int) -> int:
        """Samples that both models are given at once.

        Raises:
            LayersError: They cannot be given the same.
        """
        fixed = {side.plan.batch for side in self.sides.values() if side.plan.batch is not None}
        if any(side.single for side in self.sides.values()):
            fixed.add(1)
        if len(fixed) > 1:
            raise LayersError("the models take different numbers of samples at once")
        return next(iter(fixed), count)

    def run(self, chunk: Chunk, count: int, record: LayerRecord, start: int) -> dict[str, list[PerSample]]:
        """Runs a chunk and adds its statistics to a record; returns each side's outputs by sample.

        Samples that only fill up a fixed batch are in no answer, and their batch is in no statistic.

        Args:
            chunk: Arrays of ``count`` samples.
            count: Samples in the chunk.
            record: Where statistics go.
            start: Number of the chunk's first sample.

        Raises:
            LayersError: The models fail, or an output has no axis of samples.
        """
        step, model = self.step(count), self.begin()
        plans = {role: replace(side.plan, batch=step) for role, side in self.sides.items()}
        pieces: dict[str, list[list[PerSample]]] = {
            role: [[] for _ in self.sides[role].runner.outputs] for role in ROLES
        }
        for first in range(0, count, step):
            real = min(step, count - first)
            try:
                outputs, figures = model.run({role: plans[role].feeds(chunk, first, real) for role in ROLES})
                for role, values in outputs.items():
                    for into, value in zip(pieces[role], values, strict=True):
                        into.append(piece_of(value, step, real))
            except ModelRefusedError as error:
                raise LayersError(error.what) from error
            except NoBatchError as error:
                raise LayersError("an output has no axis of samples") from error
            if real == step:
                record.add(figures, start + first)
        return {role: [put_together(each, step) for each in found] for role, found in pieces.items()}
