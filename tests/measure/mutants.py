"""Well-formed files that say something odd: attributes gone, other ranks, axes, counts, types and operands.

Whatever protobuf can hold and a reader lets through may reach the code that follows graphs.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Mutation = Callable[[onnx.GraphProto, Random], None]
_NUMBERS = (-(2**31), -129, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 99, 2**31)
_FLOATS = (0.0, -1.0, 1e-40, 1e38, float("inf"), float("nan"), 0.5)
_OTHERS = (
    "Conv", "MatMul", "Gemm", "Concat", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Gather", "Split", "Pad", "Clip",
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv",
    "QLinearMatMul", "LSTM", "Add", "Mul", "Sub", "Cast", "BatchNormalization", "LayerNormalization", "ConvTranspose", "Flatten",
    "ReduceMean", "Range", "ConstantOfShape", "Expand", "Where", "Relu", "HardSwish", "Dropout", "Identity", "TopK", "Einsum",
)  # fmt: skip
_MICROSOFT = (
    "QGemm", "QLinearAdd", "QLinearConcat", "QLinearAveragePool", "MatMulNBits", "GatherBlockQuantized",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "FusedConv", "FusedGemm", "BiasGelu", "FastGelu",
    "SkipLayerNormalization", "SimplifiedLayerNormalization", "QLinearSigmoid",
)  # fmt: skip


def mutate(proto: onnx.ModelProto, random: Random, many: int) -> None:
    """Changes a model in place, ``many`` times, anywhere in its graph and in the bodies of its nodes."""
    if not any(o.domain == "com.microsoft" for o in proto.opset_import):
        proto.opset_import.add(domain="com.microsoft", version=1)
    for _ in range(many):
        graphs = [proto.graph, *(a.g for n in proto.graph.node for a in n.attribute if a.HasField("g"))]
        random.choice(_MUTATIONS)(random.choice(graphs), random)


def _node(graph: onnx.GraphProto, random: Random) -> onnx.NodeProto:
    return random.choice(list(graph.node) or [onnx.NodeProto()])


def _tensors(graph: onnx.GraphProto) -> list[TensorProto]:
    return [*graph.initializer, *(a.t for n in graph.node for a in n.attribute if a.HasField("t"))]


def _tensor(graph: onnx.GraphProto, random: Random) -> TensorProto:
    return random.choice(_tensors(graph) or [TensorProto()])


def _names(graph: onnx.GraphProto) -> list[str]:
    made = [name for node in graph.node for name in node.output]
    return ["", *made, *(t.name for t in graph.initializer), *(v.name for v in graph.input)]


def attribute_gone(graph: onnx.GraphProto, random: Random) -> None:
    attributes = _node(graph, random).attribute
    if attributes:
        del attributes[random.randrange(len(attributes))]


def attribute_changed(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    known = [a.name for a in node.attribute if not a.HasField("g")]
    common = ["axis", "axes", "perm", "transB", "transA", "alpha", "beta", "block_size", "pads", "to", "group", "bits", "K", "N",
              "output_dtype", "kernel_shape", "strides", "start", "end", "allowzero", "activation", "value"]  # fmt: skip
    name = random.choice(known or common) if random.random() < 0.6 else random.choice(common)
    value = random.choice([
        random.choice(_NUMBERS), random.choice(_FLOATS), "text",
        [random.choice(_NUMBERS) for _ in range(random.randrange(1, 5))],
        [random.choice(_FLOATS) for _ in range(random.randrange(1, 3))],
        numpy_helper.from_array(np.ones(random.choice([(), (1,), (0,), (3, 2)]), np.float32), "held"),
    ])  # fmt: skip
    kept = [a for a in node.attribute if a.name != name]
    made = helper.make_attribute(name, value)
    del node.attribute[:]
    node.attribute.extend([*kept, made])


def tensor_reshaped(graph: onnx.GraphProto, random: Random) -> None:
    tensor = _tensor(graph, random)
    size = int(np.prod(tensor.dims, dtype=np.int64))
    shapes = [
        [size],
        [1, size],
        [size, 1],
        [1, 1, size, 1],
        [1, *tensor.dims],
        [*tensor.dims, 1],
        list(tensor.dims)[::-1],
    ]
    shape = random.choice([*shapes, []] if size == 1 else shapes)
    del tensor.dims[:]
    tensor.dims.extend(shape)


def tensor_replaced(graph: onnx.GraphProto, random: Random) -> None:
    tensor = _tensor(graph, random)
    kind = random.choice(
        [
            np.float32,
            np.float16,
            np.float64,
            np.int8,
            np.uint8,
            np.int32,
            np.int64,
            np.uint16,
            np.bool_,
            "text",
        ]
    )
    shape = [random.choice([0, 1, 1, 2, 3, 4, 10, 16]) for _ in range(random.randrange(0, 4))]
    if random.random() < 0.5:
        shape = list(tensor.dims)
    name = tensor.name
    if kind == "text":
        tensor.CopyFrom(
            helper.make_tensor(
                name, TensorProto.STRING, shape, [b"\xff\xfe"] * int(np.prod(shape, dtype=np.int64))
            )
        )
        return
    values = np.full(shape, random.choice([0, 1, -1, 7, 100])).astype(kind)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def tensor_cut(graph: onnx.GraphProto, random: Random) -> None:
    tensor = _tensor(graph, random)
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError):
        return
    if values.ndim and values.shape[0] > 1:
        axis = random.randrange(values.ndim)
        less = values.take(range(max(values.shape[axis] - random.choice([1, 2]), 0)), axis=axis)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(less), tensor.name))


def input_gone(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    if node.input:
        at = random.randrange(len(node.input))
        if random.random() < 0.5:
            node.input[at] = ""
        else:
            del node.input[at]


def input_added(graph: onnx.GraphProto, random: Random) -> None:
    _node(graph, random).input.append(random.choice(_names(graph)))


def input_swapped(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    if node.input:
        node.input[random.randrange(len(node.input))] = random.choice(_names(graph))


def inputs_shuffled(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    names = list(node.input)
    random.shuffle(names)
    del node.input[:]
    node.input.extend(names)


def output_gone(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    if node.output:
        at = random.randrange(len(node.output))
        if random.random() < 0.5:
            node.output[at] = ""
        else:
            del node.output[at]


def output_added(graph: onnx.GraphProto, random: Random) -> None:
    _node(graph, random).output.append(random.choice(["", "one_more", *_names(graph)]))


def other_operator(graph: onnx.GraphProto, random: Random) -> None:
    node = _node(graph, random)
    if random.random() < 0.6:
        node.op_type, node.domain = random.choice(_OTHERS), ""
    else:
        node.op_type, node.domain = random.choice(_MICROSOFT), "com.microsoft"


def node_gone(graph: onnx.GraphProto, random: Random) -> None:
    if graph.node:
        del graph.node[random.randrange(len(graph.node))]


def node_twice(graph: onnx.GraphProto, random: Random) -> None:
    if graph.node:
        graph.node.insert(random.randrange(len(graph.node)), _node(graph, random))


def nodes_shuffled(graph: onnx.GraphProto, random: Random) -> None:
    nodes = list(graph.node)
    random.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def shape_of_an_input(graph: onnx.GraphProto, random: Random) -> None:
    values = [*graph.input, *graph.output, *graph.value_info]
    if values:
        kind = random.choice(values).type.tensor_type
        kind.elem_type = random.choice([0, 1, 2, 3, 6, 7, 8, 9, 10])
        if random.random() < 0.3:
            kind.ClearField("shape")
        elif kind.shape.dim:
            kind.shape.dim[random.randrange(len(kind.shape.dim))].dim_value = random.choice([0, 1, -1, 2**40])


_MUTATIONS: tuple[Mutation, ...] = (
    attribute_gone, attribute_changed, attribute_changed, attribute_changed, tensor_reshaped, tensor_reshaped, tensor_replaced,
    tensor_replaced, tensor_cut, input_gone, input_added, input_swapped, inputs_shuffled, output_gone, output_added,
    other_operator, other_operator, node_gone, node_twice, nodes_shuffled, shape_of_an_input,
)  # fmt: skip
