"""What a static reader hands out: a model as data, with nothing of it executed.

Constants are loaded on demand, so that a reader of a large model holds no second copy of its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Dim = int | str | None
"""A fixed size, the name of a symbolic one, or unknown."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """Name, element type and shape of an input, an output or an inner tensor.

    ``shape`` is None where the file does not give one.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None


@dataclass(frozen=True)
class StoredQuantization:
    """How a tensor's codes stand for numbers, where the file keeps that with the tensor itself.

    PyTorch's checkpoints do; ONNX says it with nodes instead. ``value = (code - zero_point) * scale``.

    Args:
        scale: One element, or one for each slice along ``axis``.
        zero_point: Likewise; None is zero.
        axis: None for one scale for the whole tensor.
        block: Elements along ``axis`` that share a scale; 0 where each slice has its own.
    """

    scale: Constant
    zero_point: Constant | None = None
    axis: int | None = None
    block: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant tensor of the file.

    Args:
        name: The file's own name.
        dtype: ONNX element type in lower case: ``float``, ``float16``, ``int8``, ``uint4``, ...
        shape: Its dimensions.
        bits: Storage bits of one element.
        load: Returns the values; sub-byte integers come widened to int8 or uint8, float4 to float16, float8
            and bfloat16 to float32.
        file: The side file that holds the bytes, relative to the model; empty if the model does.
        quantization: What the codes stand for, where the file says so with the tensor.
        raw: Returns the canonical bytes, flat: little-endian, elements in C order, sub-byte codes packed
            from the lowest bits up, each string behind its length in 8 bytes. Exact to the bit where
            ``load`` widens. None where ``load`` alone has the values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    bits: int
    load: Callable[[], NDArray[Any]] = field(repr=False, compare=False)
    file: str = ""
    quantization: StoredQuantization | None = None
    raw: Callable[[], NDArray[np.uint8]] | None = field(default=None, repr=False, compare=False)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64)) if self.shape else 1

    @property
    def bytes(self) -> int:
        """Storage of the values, rounded up."""
        return (self.size * self.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. ``domain`` is empty for the standard one."""

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    position: int

    @property
    def label(self) -> str:
        """The node's name, or a description where the file gave it none."""
        if self.name:
            return self.name
        return f"{self.op}->{self.outputs[0]}" if self.outputs else f"{self.op}#{self.position}"

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute or a default."""
        return self.attributes.get(name, default)


@dataclass(frozen=True)
class Graph:
    """A graph or a subgraph (an attribute value of If, Loop, Scan).

    ``overridable`` are constants that are inputs as well, so that a caller may replace them.
    """

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Constant]
    types: Mapping[str, TensorType] = field(default_factory=dict)
    overridable: tuple[str, ...] = ()

    def subgraphs(self) -> Iterator[Graph]:
        """Every graph held in an attribute, depth first."""
        for node in self.nodes:
            for value in node.attributes.values():
                held = value if isinstance(value, tuple) else (value,)
                for graph in held:
                    if isinstance(graph, Graph):
                        yield graph
                        yield from graph.subgraphs()

    def all_nodes(self) -> Iterator[Node]:
        """The nodes of this graph and of every subgraph."""
        yield from self.nodes
        for graph in self.subgraphs():
            yield from graph.nodes

    def all_constants(self) -> Iterator[Constant]:
        """The constants of this graph and of every subgraph."""
        yield from self.constants.values()
        for graph in self.subgraphs():
            yield from graph.constants.values()


@dataclass(frozen=True)
class Signature:
    """Names by which applications feed and read a graph, beside those of its tensors.

    Args:
        inputs: Each name with the positions of the tensor among the graph's inputs: one, unless a tensor stands there twice.
        outputs: Likewise among the outputs.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class StaticModel:
    """A model file as data.

    Args:
        path: The file that was read.
        format: ``onnx``, ``safetensors``, ``torch-checkpoint`` or ``torch-export``.
        graph: The main graph; of formats that hold tensors alone, its constants and nothing else.
        opsets: Version by domain.
        ir_version: The file's IR version.
        producer: What the file says wrote it.
        metadata: The file's key-value pairs.
        functions: Names (domain::name) of model-local functions, whose bodies stand in the graph.
        side_files: Every other file it needs, relative to the model, with a tensor that lies in it.
        file_bytes: Size of the model with its side files.
        inlined: Tensors of those bodies: a runtime does not know them by the names that they have here.
        idle: Bodies of functions that nothing calls, which therefore stand in no graph and never run.
        root: What the names of the model's own tensors begin with, with its dot; tensors of a checkpoint by other names
            (an optimizer's) are no part of the model. Empty where all of them are.
        state: Which tensors a runner puts into a module, see ``formats.torch.root.state_record``; empty where none.
        signatures: Of a LiteRT model, by their keys.
    """

    path: Path
    format: str
    graph: Graph
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    metadata: Mapping[str, str]
    functions: tuple[str, ...]
    side_files: Mapping[str, str]
    file_bytes: int
    inlined: frozenset[str] = frozenset()
    idle: tuple[Graph, ...] = ()
    root: str = ""
    state: str = ""
    signatures: Mapping[str, Signature] = field(default_factory=dict)


def unread_model(path: Path, form: str, file_bytes: int) -> StaticModel:
    """A model of which nothing was read: a program that is trusted to run, and whose tensors nobody has seen."""
    graph = Graph(inputs=(), outputs=(), nodes=(), constants={})
    return StaticModel(
        path=path, format=form, graph=graph, opsets={}, ir_version=0, producer="", metadata={}, functions=(),
        side_files={}, file_bytes=file_bytes,
    )  # fmt: skip
