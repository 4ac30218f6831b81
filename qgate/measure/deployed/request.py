"""What is asked of the process of one runtime, as data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qgate.measure.request import PairRequest

Task = Literal["materialise", "run", "judge"]

MOST_SAMPLES = 32
"""Samples that runtimes are compared on."""


@dataclass(frozen=True)
class RuntimeRequest:
    """One model in one runtime.

    Args:
        task: ``materialise``: run a pair in ONNX Runtime and hand back inputs and outputs; ``run``: run a model on inputs
            that are there; ``judge``: ask TensorRT's parser and builder.
        runtime: Its name in ``runtimes.registry``.
        model: The candidate, a staged copy.
        side_files: Further files that it is made of.
        pair: The pair, for ``materialise``.
        inputs: ``.npz`` with the inputs, for ``run``.
        names: The model's input to the array that feeds it.
        types: Arrays whose dtype may differ from the model's, to the declared one.
        single: Samples must be run one at a time.
        taps: Inner tensors to hand back as well.
        samples: How many samples to run.
        shapes: A shape that occurs for each input, for ``judge``.
    """

    task: Task
    runtime: str
    model: Path
    side_files: tuple[Path, ...] = ()
    pair: PairRequest | None = None
    inputs: Path | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    single: bool = False
    taps: tuple[str, ...] = ()
    samples: int = MOST_SAMPLES
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def files(self) -> Iterator[Path]:
        """Every file that the work reads."""
        if self.pair is not None:
            yield from self.pair.files()
            return
        yield self.model
        yield from self.side_files
        if self.inputs is not None:
            yield self.inputs

    def to_json(self) -> str:
        """The request as the child reads it; paths absolute."""
        raw: dict[str, Any] = {
            **{key: value for key, value in asdict(self).items() if key != "pair"},
            "pair": None if self.pair is None else self.pair.to_json(),
            "model": str(self.model.absolute()),
            "side_files": [str(each.absolute()) for each in self.side_files],
            "inputs": None if self.inputs is None else str(self.inputs.absolute()),
        }
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> RuntimeRequest:
        """The inverse of ``to_json``; the text comes from the parent and is trusted."""
        raw: dict[str, Any] = json.loads(text)
        raw["pair"] = None if raw["pair"] is None else PairRequest.from_json(raw["pair"])
        raw["model"] = Path(raw["model"])
        raw["side_files"] = tuple(map(Path, raw["side_files"]))
        raw["inputs"] = None if raw["inputs"] is None else Path(raw["inputs"])
        raw["taps"] = tuple(raw["taps"])
        raw["shapes"] = {name: tuple(shape) for name, shape in raw["shapes"].items()}
        return cls(**raw)
