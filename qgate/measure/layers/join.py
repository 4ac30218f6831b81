"""Both models and the comparison of their layers as one graph from which only a few numbers leave.

The reference's names get a prefix; the candidate's bytes are copied as they are. Beside each layer stand the
reductions that its figures need, and they are an output of the graph. The order of the nodes decides what
ONNX Runtime keeps in memory, because it walks from the last leaf: with the reductions of the last layer
first, each pair of activations is given back as soon as it has been compared.

Where the codes of an 8-bit tensor are compared, an extra DequantizeLinear reads them. The candidate's own
operators still fuse as they would alone; that this holds is checked bit for bit in every run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

from qgate.measure.layers import encode
from qgate.measure.layers.comparison import (
    Comparison,
    figures_name,
    reference_name,
    shared_constants,
    sizes_name,
)
from qgate.measure.layers.layer import Layer
from qgate.measure.layers.ledger import sizes_of
from qgate.measure.layers.parts import Parts, UnjoinableError, read_fields, read_varint, take_apart
from qgate.measure.layers.unsigned import use_unsigned

_IR, _OPSET, _GRAPH = 1, 8, 7
_DOMAIN, _VERSION = 1, 2
_LEAST_OPSET = 13


def mark_for(names: Iterable[str]) -> str:
    """What every name that is added begins with: something that none of these names begins with."""
    taken = set(names)
    return next(
        mark for mark in (f"qgate{i}" for i in count()) if not any(name.startswith(mark) for name in taken)
    )


def join(reference: Path, candidate: Path, layers: Sequence[Layer], target: Path, mark: str) -> None:
    """Writes the joined file.

    Args:
        reference: The full-precision model.
        candidate: The quantized model.
        layers: What is compared.
        target: The file to write; both models lie below its folder.
        mark: See ``mark_for``; of all names in the candidate.

    Raises:
        UnjoinableError: The two cannot be one graph, with the reason.
        OSError: A file cannot be read or written.
    """
    folder = target.parent
    ours = take_apart(reference, str(reference.relative_to(folder)), lambda name: reference_name(mark, name))
    theirs = take_apart(candidate, str(candidate.relative_to(folder)))
    head, version = _head(ours, theirs)
    read = use_unsigned(theirs, layers, mark)
    sized = set(sizes_of(layers)[0])
    places: dict[tuple[int | str, ...], str] = {}
    # In the order of computing: the first layer of a shape says where the sketches of that shape read.
    written = [
        Comparison(layer, mark, position, version=version, sized=position in sized, places=places)
        for position, layer in enumerate(read)
    ]
    # ONNX Runtime puts the nodes into an order of its own, and takes them in any.
    nodes = [*ours.nodes, *theirs.nodes]
    constants = [*ours.initializers, *theirs.initializers, *shared_constants(mark)]
    for comparison in reversed(written):
        nodes += comparison.nodes
        constants += comparison.constants
    outputs = [*ours.outputs, *theirs.outputs]
    outputs += [encode.output(figures_name(mark, position)) for position in range(len(layers))]
    outputs += [encode.output(sizes_name(mark, position)) for position in sorted(sized)]
    graph = b"".join(
        (*nodes, encode.content(2, mark), *constants, *ours.inputs, *theirs.inputs, *outputs,
         *ours.values, *theirs.values)
    )  # fmt: skip
    target.write_bytes(head + encode.content(_GRAPH, graph))


def _head(ours: Parts, theirs: Parts) -> tuple[bytes, int]:
    """IR version and operator sets of both, which must be the same where both name one; and ONNX's own version."""
    versions: dict[str, int] = {}
    for side in (ours, theirs):
        for entry in side.head.get(_OPSET, ()):
            domain, version = _operator_set(entry)
            domain = "" if domain == "ai.onnx" else domain
            if versions.setdefault(domain, version) != version:
                raise UnjoinableError(
                    f"the models use different versions of the operator set {domain or 'ai.onnx'!r} "
                    f"({versions[domain]} and {version})"
                )
    if versions.get("", 0) < _LEAST_OPSET:
        raise UnjoinableError(f"operator set {versions.get('', 0)} is older than {_LEAST_OPSET}")
    newest = max(_number(side.head[_IR][0]) for side in (ours, theirs))
    sets = [
        encode.content(_OPSET, encode.content(_DOMAIN, domain) + encode.number(_VERSION, version))
        for domain, version in versions.items()
    ]
    return encode.number(_IR, newest) + b"".join(sets), versions[""]


def _number(entry: bytes) -> int:
    """The value of an encoded field that holds a number."""
    _, at = read_varint(entry, 0)
    return read_varint(entry, at)[0]


def _operator_set(entry: bytes) -> tuple[str, int]:
    _, at = read_varint(entry, 0)
    length, begin = read_varint(entry, at)
    domain, version = "", 0
    for tag, start, first, end in read_fields(entry, begin, begin + length):
        if tag == _DOMAIN:
            domain = entry[first:end].decode()
        elif tag == _VERSION:
            version = _number(entry[start:end])
    return domain, version
