"""What is asked of the child, as data. Standard library only: the child reads it before anything else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from qgate.measure.layers.layer import Layer
from qgate.measure.plugin import Plugin
from qgate.measure.preprocessing import Preprocessing
from qgate.sandbox.limits import Limits

DEFAULT_SAMPLES = 32
"""How many inputs are generated where none are given."""

EDGES = ("zeros", "ones", "lowest", "highest", "constant", "one channel", "smallest", "largest")
"""Inputs at the edge of what a model may be given; see ``edges``."""

UNLABELLED = ("neighbours", "same_boxes", "python", "decoded")
"""Metrics that need no labels."""

TEXTS = ("cer", "exact_match")
"""Metrics of texts, which a library of its own is loaded for."""

BOXES = ("map", "map50", "same_boxes")
"""Metrics of boxes, which another is loaded for."""

WHOLE_CLASSES = ("top1", "topk", "balanced_accuracy", "macro_f1", "ece")
"""Metrics with one class to each sample."""

NO_SUCH_OUTPUT = "the candidate has no such output"
"""Why an output of the reference was not compared, where nothing else kept it from being."""


@dataclass(frozen=True)
class Tap:
    """One reference tensor to watch, and the range that the candidate's quantizer can represent.

    Args:
        tensor: Tensor name in the reference graph.
        low: Smallest value that the candidate's quantizer represents.
        high: Largest value that it represents.
        name: The candidate's scale tensor, in the candidate's own words; findings point at it.
        node: The candidate's quantizer node, if it has a name.
        bits: Bits of its codes.
    """

    tensor: str
    low: float
    high: float
    name: str
    node: str | None = None
    bits: int = 8


@dataclass(frozen=True)
class Part:
    """Some of the samples, see ``part.PartFile``.

    Args:
        count: How many the whole data set has.
        side: Those to calibrate on, or the others.
    """

    count: int
    side: Literal["calibration", "others"]


@dataclass(frozen=True)
class PairRequest:
    """One pair of models to run on the same inputs.

    Args:
        reference: The full-precision model; None runs the candidate alone.
        candidate: The quantized model. Both are staged copies that an unprivileged user can read
            (see ``qgate.sandbox.staging``).
        inputs: ``.npz`` with arrays named as the reference's inputs, first axis the samples, or another form of data
            set (see ``open_data``); None
            generates seeded inputs from the signature.
        labels: Name of the array of labels or targets in ``inputs``.
        slices: Name of the array in ``inputs`` that says which slice each sample belongs to.
        task: A metric of ``measure.task``, ``none``, or None for what labels and outputs suggest.
        task_options: What the task is told beside it, see ``tasks.base.Options``.
        task_output: The reference's output that labels are compared with; None finds it.
        io_map: Reference input or output name to the candidate's name.
        io_optional: Inputs that one side may lack.
        io_types: Reference input name to the dtype that the candidate takes instead.
        scheme: Quantization scheme as declared or detected; carried for messages only.
        dynamic: The candidate is dynamically quantized: its samples are run one at a time.
        taps: Reference tensors to compare with the candidate's quantizer ranges.
        seed: Seed of generated inputs.
        samples: How many inputs are generated.
        distribution: ``normal`` or ``uniform`` (0 to 1), for generated floating-point inputs.
        threads: Processor threads to use; None uses those that the process may run on.
        limits: Resources of the child.
        reference_label: What messages call the reference; its path by default.
        candidate_label: What messages call the candidate; its path by default.
        inputs_label: What messages call the inputs; their path by default.
        joined: Both models and the comparison of their layers in one file; None compares no layers.
        mark: What its own names begin with; see ``layers.join``.
        layers: What it compares.
        fronts: The tensor in front of the quantizer that makes each layer's codes, by the codes.
        edges: Both models are run on ``EDGES`` as well, where both are run.
        forms: Format of each side that PyTorch runs; the others are ONNX.
        states: Which tensors of each checkpoint were judged, and must be those that are run; see
            ``formats.torch.root.state_record``.
        torchao: A side's tensors or operations are torchao's, which is then imported.
        code: Code of the trusted side by role, see ``measure.plugin``.
        side_files: Further files that the models are made of; the child can read no others.
        images: How images of the data become arrays.
        part: Which samples of ``inputs`` are run; None for all.
        cost: Measures what running costs and nothing else: both in ``turns``, or one of them by itself; ``rows`` runs
            nothing and counts the samples.
    """

    candidate: Path
    reference: Path | None = None
    inputs: Path | None = None
    labels: str | None = None
    slices: str | None = None
    task: str | None = None
    task_output: str | None = None
    task_options: Mapping[str, float | str | None] = field(default_factory=dict)
    io_map: Mapping[str, str] = field(default_factory=dict)
    io_optional: tuple[str, ...] = ()
    io_types: Mapping[str, str] = field(default_factory=dict)
    scheme: str | None = None
    dynamic: bool = False
    taps: tuple[Tap, ...] = ()
    seed: int = 0
    samples: int = DEFAULT_SAMPLES
    distribution: str = "normal"
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    reference_label: str = ""
    candidate_label: str = ""
    inputs_label: str = ""
    joined: Path | None = None
    mark: str = ""
    layers: tuple[Layer, ...] = ()
    fronts: Mapping[str, str] = field(default_factory=dict)
    edges: bool = True
    side_files: tuple[Path, ...] = ()
    cost: Literal["", "turns", "reference", "candidate", "rows"] = ""
    forms: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    torchao: bool = False
    code: Mapping[str, Plugin] = field(default_factory=dict)
    images: Preprocessing | None = None
    part: Part | None = None

    def files(self) -> Iterator[Path]:
        """Every file that the run reads, for the child may read no others."""
        named = (self.candidate, self.reference, self.inputs, self.joined)
        yield from (path for path in named if path is not None)
        if self.inputs is not None and self.inputs.suffix.lower() in (".csv", ".json"):
            yield self.inputs.parent  # it names further files, which were copied beside it
        yield from self.side_files

    def label(self, role: str) -> str:
        """What messages call the ``reference``, the ``candidate`` or the ``inputs``."""
        named = {
            "reference": self.reference_label or str(self.reference or ""),
            "candidate": self.candidate_label or str(self.candidate),
            "inputs": self.inputs_label or str(self.inputs or "generated inputs"),
        }
        return named[role]

    def to_json(self) -> str:
        """The request as the child reads it; paths absolute, because the child has its own directory."""
        raw = asdict(self)
        for key in ("reference", "candidate", "inputs", "joined"):
            raw[key] = None if raw[key] is None else str(Path(raw[key]).absolute())
        raw["side_files"] = [str(Path(each).absolute()) for each in self.side_files]
        raw["code"] = {role: plugin.to_data() for role, plugin in self.code.items()}
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> PairRequest:
        """The inverse of ``to_json``; the text comes from the parent and is trusted."""
        raw: dict[str, Any] = json.loads(text)
        for key in ("reference", "candidate", "inputs", "joined"):
            raw[key] = None if raw[key] is None else Path(raw[key])
        raw["side_files"] = tuple(map(Path, raw["side_files"]))
        raw["taps"] = tuple(Tap(**tap) for tap in raw["taps"])
        raw["layers"] = tuple(
            Layer(**{**each, "before": tuple(each["before"]), "shape": tuple(each["shape"])})
            for each in raw["layers"]
        )
        raw["code"] = {role: Plugin.from_data(each) for role, each in raw["code"].items()}
        raw["images"] = None if raw["images"] is None else Preprocessing.from_data(raw["images"])
        raw["part"] = None if raw["part"] is None else Part(**raw["part"])
        raw["io_optional"] = tuple(raw["io_optional"])
        raw["limits"] = Limits(**raw["limits"])
        return cls(**raw)
