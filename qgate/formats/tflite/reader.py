"""A LiteRT model as data: one graph, its constants with what their codes stand for, its operators by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qgate.formats.elements import Mapped, Span, spanned
from qgate.formats.model import Constant, Dim, Graph, Node, StaticModel, StoredQuantization, TensorType
from qgate.formats.tflite import schema
from qgate.formats.tflite.flat import Flat, Table
from qgate.formats.tflite.options import read_options
from qgate.formats.tflite.refusal import several_graphs, unread
from qgate.formats.tflite.signatures import read_signatures

PREFIX = "tfl."
_CODES = ("int4", "int8", "int16", "int32", "int64", "uint4", "uint8", "uint16", "uint32", "uint64")


def read_tflite(path: Path, file: Mapped) -> StaticModel:
    """Reads a LiteRT model.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: It is damaged, or of a form that is not read: several graphs, sparse or external weights.
    """
    flat = Flat(file.view, path.name)
    model = flat.root()
    if model.scalar(0, "I") != schema.VERSION:
        raise unread(flat, f"version {model.scalar(0, 'I')} of the schema")
    graphs = model.tables(schema.SUBGRAPHS)
    if len(graphs) != 1:
        raise several_graphs(flat, len(graphs))
    buffers = [_buffer(each, flat) for each in model.tables(schema.BUFFERS)]
    tensors = graphs[0].tables(schema.GRAPH_TENSORS)
    names = _names(tensors)
    types = {name: _type(name, each, flat) for name, each in zip(names, tensors, strict=True)}
    constants: dict[str, Constant] = {}
    ranges: dict[str, Constant] = {}
    for name, tensor in zip(names, tensors, strict=True):
        held = _constant(name, tensor, types[name], buffers, (file, flat))
        if held is not None:
            constants[name] = held
        else:
            ranges |= _range(name, types[name], tensor, flat)
    if ranges.keys() & types.keys():
        flat.refuse("a tensor with the name that stands for another's scale or zero point")
    constants |= ranges
    graph = Graph(
        inputs=_ends(graphs[0], schema.GRAPH_INPUTS, types, flat),
        outputs=_ends(graphs[0], schema.GRAPH_OUTPUTS, types, flat),
        nodes=_nodes(model, graphs[0], names, flat),
        constants=constants,
        types=types,
    )
    if not graph.nodes or not graph.outputs:
        flat.refuse("a graph that computes nothing")
    return StaticModel(
        path=path, format="tflite", graph=graph, opsets={}, ir_version=schema.VERSION,
        producer=model.text(schema.DESCRIPTION, 2000), metadata={}, functions=(), side_files={}, file_bytes=len(file.view),
        signatures=read_signatures(model, graphs[0], flat),
    )  # fmt: skip


def read_names(path: Path, file: Mapped) -> list[str]:
    """The names of a model's tensors by their number, as ``read_tflite`` gives them.

    Args:
        path: The file's place.
        file: The file.

    Raises:
        FormatError: It is damaged, or has several graphs.
    """
    flat = Flat(file.view, path.name)
    graphs = flat.root().tables(schema.SUBGRAPHS)
    if len(graphs) != 1:
        raise several_graphs(flat, len(graphs))
    return _names(graphs[0].tables(schema.GRAPH_TENSORS))


def _buffer(buffer: Table, flat: Flat) -> tuple[int, int]:
    """Where a buffer's bytes lie, and how many there are: within the FlatBuffer, or behind its end in the same file."""
    begin, size = buffer.scalar(schema.DATA_OFFSET, "Q"), buffer.scalar(schema.DATA_SIZE, "Q")
    inner = buffer.bytes_at(schema.DATA)
    if begin <= 1 and size <= 1:  # the schema's placeholders
        return inner
    if inner[1]:
        flat.refuse("a buffer whose bytes lie in two places")
    if begin <= 1 or begin + size > len(flat.view):
        flat.refuse("a buffer that leads out of the file")
    return begin, size


def _names(tensors: list[Table]) -> list[str]:
    """Names of tensors, made unique: the file need not give any."""
    taken: set[str] = set()
    found = []
    for number, tensor in enumerate(tensors):
        name = tensor.text(schema.NAME)
        name = name if name and name not in taken else f"{name or 'tensor'}#{number}"
        while name in taken:
            name += "#"
        taken.add(name)
        found.append(name)
    return found


def _type(name: str, tensor: Table, flat: Flat) -> TensorType:
    code = tensor.scalar(schema.TYPE, "b")
    if code not in schema.TYPES:
        raise unread(flat, f"a tensor of type {code}")
    sizes = [int(n) for n in tensor.numbers(schema.SHAPE, "i")]
    free = [int(n) for n in tensor.numbers(schema.SIGNATURE, "i")]
    if len(free) == len(sizes):
        sizes = free
    if any(n < -1 for n in sizes):
        flat.refuse(f"tensor {name!r} has a negative size")
    shape: tuple[Dim, ...] = tuple(None if n < 0 else n for n in sizes)
    return TensorType(name, schema.TYPES[code], shape)


def _constant(
    name: str, tensor: Table, kind: TensorType, buffers: list[tuple[int, int]], held: tuple[Mapped, Flat]
) -> Constant | None:
    """The constant of a tensor; None where nothing is stored for it."""
    file, flat = held
    if tensor.scalar(schema.EXTERNAL, "I"):
        raise unread(flat, "weights in another file")
    number = tensor.scalar(schema.BUFFER, "I")
    if number >= max(len(buffers), 1):
        flat.refuse(f"tensor {name!r} names a buffer that there is not")
    begin, size = buffers[number] if number else (0, 0)
    if not size or kind.dtype == "string":
        return None
    if tensor.table(schema.SPARSITY) is not None:
        raise unread(flat, "sparse weights")
    sizes = tuple(int(n) for n in tensor.numbers(schema.SHAPE, "i"))
    constant = spanned(name, Span(file, begin, kind.dtype, sizes), size, flat.where)
    if constant.bytes != size:
        flat.refuse(f"tensor {name!r} declares {constant.bytes} bytes and has {size}")
    quantization = tensor.table(schema.QUANTIZATION)
    # Kernels take numbers in floating point for what they are, whatever scale the file gives them.
    plain = quantization is None or kind.dtype not in _CODES
    return constant if plain or quantization is None else _quantized(constant, quantization, flat)


def _range(name: str, kind: TensorType, tensor: Table, flat: Flat) -> dict[str, Constant]:
    """Scale and zero point of an activation as constants, which is how other files keep them."""
    stored = tensor.table(schema.QUANTIZATION) if kind.dtype in _CODES else None
    scales = None if stored is None else stored.numbers(schema.SCALE, "f")
    if stored is None or scales is None or not scales.size:
        return {}
    zeros = stored.numbers(schema.ZERO_POINT, "q")
    if scales.size != 1 or zeros.size > 1:
        raise unread(flat, f"the activation {name!r} in several scales")
    zero = zeros if zeros.size else np.zeros(1, np.int64)
    return {
        f"{name}.scale": _numbers(f"{name}.scale", scales, "float", 32),
        f"{name}.zero_point": _numbers(f"{name}.zero_point", zero, "int64", 64),
    }


def _quantized(constant: Constant, stored: Table, flat: Flat) -> Constant:
    scales = stored.numbers(schema.SCALE, "f")
    if not scales.size:
        return constant
    if stored.scalar(schema.DETAILS_TYPE, "B"):
        raise unread(flat, "a custom kind of quantization, or one in blocks")
    zeros = stored.numbers(schema.ZERO_POINT, "q")
    axis = stored.scalar(schema.AXIS, "i")
    if scales.size > 1 and not (0 <= axis < len(constant.shape) and constant.shape[axis] == scales.size):
        flat.refuse(f"tensor {constant.name!r} has {scales.size} scales, and no axis of that size")
    if zeros.size not in (0, 1, scales.size):
        flat.refuse(f"tensor {constant.name!r} has {scales.size} scales and {zeros.size} zero points")
    zero = zeros if zeros.size in (0, scales.size) else np.repeat(zeros, scales.size)
    return replace(
        constant,
        quantization=StoredQuantization(
            scale=_numbers(f"{constant.name}.scale", scales, "float", 32),
            zero_point=_numbers(f"{constant.name}.zero_point", zero, "int64", 64) if zero.size else None,
            axis=axis if scales.size > 1 else None,
        ),
    )


def _numbers(name: str, values: NDArray[np.generic], dtype: str, bits: int) -> Constant:
    shape = values.shape if values.size > 1 else ()
    return Constant(name, dtype, shape, bits, lambda: values.reshape(shape))


def _named(table: Table, number: int, names: list[str], flat: Flat) -> list[str]:
    """Tensors by number; -1, an operand that is left out, is empty."""
    found = []
    for index in table.numbers(number, "i"):
        if not -1 <= int(index) < len(names):
            flat.refuse("a tensor is read that there is not")
        found.append("" if index < 0 else names[int(index)])
    return found


def _ends(graph: Table, number: int, types: dict[str, TensorType], flat: Flat) -> tuple[TensorType, ...]:
    """Inputs or outputs of a graph, none of which can be left out."""
    found = _named(graph, number, list(types), flat)
    if "" in found:
        flat.refuse("an input or output that is no tensor")
    return tuple(types[each] for each in found)


def _nodes(model: Table, graph: Table, names: list[str], flat: Flat) -> tuple[Node, ...]:
    codes = [_operator(each, flat) for each in model.tables(schema.OPERATOR_CODES)]
    nodes = []
    for position, operator in enumerate(graph.tables(schema.GRAPH_OPERATORS)):
        number = operator.scalar(schema.OPCODE, "I")
        if number >= len(codes):
            flat.refuse("an operator that there is not")
        inputs = tuple(_named(operator, schema.INPUTS, names, flat))
        outputs = tuple(_named(operator, schema.OUTPUTS, names, flat))
        nodes.append(Node("", codes[number], "", inputs, outputs, read_options(operator), position))
    return tuple(nodes)


def _operator(code: Table, flat: Flat) -> str:
    # Numbers from 127 on do not fit the old field, which then holds a placeholder.
    number = max(code.scalar(schema.CODE_OLD, "b"), code.scalar(schema.CODE_BUILTIN, "i"))
    if number == schema.CUSTOM:
        return f"{PREFIX}custom.{code.text(schema.CODE_CUSTOM)}"
    if not 0 <= number < len(schema.OPERATORS):
        raise unread(flat, f"the operator number {number}")
    return PREFIX + schema.OPERATORS[number]
