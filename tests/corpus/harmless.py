"""Harmless changes of an honest candidate: what other tools, exporters and people do to a file.

Each takes the candidate and a scratch folder and gives the changed model (or writes its own files), and must
not be blocked.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.corpus import graph, rewrites
from tests.optimised import optimised


@dataclass(frozen=True)
class Variant:
    """One harmless change."""

    id: str
    make: Callable[[onnx.ModelProto, Path], onnx.ModelProto | None]
    needs: tuple[str, ...] = ()
    debatable: str = ""

    @property
    def available(self) -> bool:
        return all(importlib.util.find_spec(module) is not None for module in self.needs)


VARIANTS: dict[str, Variant] = {}


def variant(**settings: object) -> Callable:
    """Registers the decorated function under its own name."""

    def keep(make: Callable) -> Callable:
        VARIANTS[make.__name__] = Variant(make.__name__, make, **settings)
        return make

    return keep


@variant()
def untouched(model, work):
    return model


@variant()
def renamed(model, work):
    """Initializers, inner tensors and nodes renamed, as by another exporter."""
    fixed = {entry.name for entry in [*model.graph.input, *model.graph.output]}
    names = list(dict.fromkeys(name for node in model.graph.node for name in [*node.input, *node.output]))
    for position, name in enumerate(names):
        if name and name not in fixed:
            graph.rename_tensor(model, name, f"t{position}")
    for position, node in enumerate(model.graph.node):
        node.name = f"n{position}_{node.op_type}"
    return model


@variant()
def unnamed_nodes(model, work):
    for node in model.graph.node:
        node.name = ""
    return model


@variant()
def reshuffled(model, work):
    """Another topological order of the nodes and another order of the initializers."""
    rng = random.Random(3)
    waiting = list(model.graph.node)
    known = {entry.name for entry in [*model.graph.input, *model.graph.initializer]} | {""}
    order = []
    while waiting:
        ready = [node for node in waiting if set(node.input) <= known]
        pick = rng.choice(ready)
        waiting.remove(pick)
        known.update(pick.output)
        order.append(pick)
    stored = list(model.graph.initializer)
    rng.shuffle(stored)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in order]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in stored]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(copies)
    model.graph.initializer.extend(kept)
    return model


@variant()
def external_data(model, work):
    """Weights in a proper side file."""
    onnx.save(
        model, work / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64
    )


@variant()
def external_one_file_each(model, work):
    for position, tensor in enumerate(model.graph.initializer):
        if len(tensor.raw_data) > 256:
            onnx.external_data_helper.set_external_data(tensor, f"tensor{position}.bin")
    onnx.save(model, work / "model.onnx")


@variant()
def ort_basic(model, work):
    return optimised(model, work, "ORT_ENABLE_BASIC")


@variant()
def ort_extended(model, work):
    return optimised(model, work, "ORT_ENABLE_EXTENDED")


@variant(needs=("onnxslim",))
def slimmed(model, work):
    import onnxslim

    with contextlib.redirect_stdout(io.StringIO()):
        return onnxslim.slim(model)


@variant(needs=("onnxsim",))
def simplified(model, work):
    import onnxsim

    with contextlib.redirect_stdout(io.StringIO()):
        return onnxsim.simplify(model)[0]


@variant()
def newer_opset(model, work):
    return graph.require_opset(model, 19)


@variant()
def documented(model, work):
    """Metadata, documentation strings, producer, model version."""
    helper.set_model_props(model, {"author": "team", "calibration": "200 images", "note": "<b>|`x`</b> @all"})
    model.doc_string, model.producer_name, model.producer_version = "an int8 model", "other-tool", "9.9"
    model.model_version = 12
    model.graph.doc_string = "main"
    for node in model.graph.node:
        node.doc_string = "from layer " + node.op_type
    return model


@variant()
def graph_renamed(model, work):
    model.graph.name = "main_graph_2"
    return model


@variant()
def identities(model, work):
    """Identity nodes at the input and the output."""
    output = model.graph.output[0].name
    graph.insert_before_output(
        model,
        output,
        [helper.make_node("Identity", [output + "_inner"], [output], "id_out")],
        output + "_inner",
    )
    entry = model.graph.input[0].name
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == entry:
                node.input[position] = entry + "_copy"
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node("Identity", [entry], [entry + "_copy"], "id_in"), *nodes])
    return model


@variant()
def constants_as_nodes(model, work):
    """Constant nodes instead of initializers."""
    made = []
    for tensor in model.graph.initializer:
        value = onnx.TensorProto.FromString(tensor.SerializeToString())
        value.name = ""
        made.append(helper.make_node("Constant", [], [tensor.name], "const_" + tensor.name, value=value))
    nodes = list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend([*made, *nodes])
    return model


@variant()
def initializers_as_inputs(model, work):
    """Old exporters list every initializer among the graph's inputs."""
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return model


@variant()
def no_dead_initializers(model, work):
    used = {name for node in model.graph.node for name in node.input}
    keep = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(keep)
    return model


@variant()
def older_ir(model, work):
    model.ir_version = max(8, min(model.ir_version, 8 if graph.opset(model) < 19 else 9))
    if graph.opset(model) >= 21:
        model.ir_version = 10
    return model


@variant()
def newer_ir(model, work):
    model.ir_version = 11
    return model


@variant()
def shapes_inferred(model, work):
    return onnx.shape_inference.infer_shapes(model)


@variant()
def no_value_info(model, work):
    del model.graph.value_info[:]
    return model


@variant()
def batch_symbol_renamed(model, work):
    for entry in [*model.graph.input, *model.graph.output]:
        dims = entry.type.tensor_type.shape.dim
        if dims and dims[0].dim_param:
            dims[0].dim_param = "batch_size"
    return model


@variant()
def typed_fields(model, work):
    return rewrites.typed_fields(model)


@variant()
def scales_shared(model, work):
    """Equal scales and zero points stored once."""
    first: dict[tuple, str] = {}
    for tensor in list(model.graph.initializer):
        value = numpy_helper.to_array(tensor)
        if value.size > 1:
            continue
        key = (tensor.data_type, tuple(tensor.dims), value.tobytes())
        kept = first.setdefault(key, tensor.name)
        if kept != tensor.name:
            for node in model.graph.node:
                for position, name in enumerate(node.input):
                    if name == tensor.name:
                        node.input[position] = kept
    return no_dead_initializers(model, work)


@variant()
def zero_points_omitted(model, work):
    """An int8 zero point of 0 on a weight's DequantizeLinear is optional."""
    stored = graph.initializers(model)
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or len(node.input) != 3 or node.input[2] not in stored:
            continue
        zero = graph.integers(numpy_helper.to_array(stored[node.input[2]]))
        if node.input[0] in stored and zero.size == 1 and not zero.any():
            del node.input[2]
    return no_dead_initializers(model, work)


@variant()
def unused_opset_import(model, work):
    graph.require_domain(model, "ai.onnx.ml", 3)
    return model


@variant()
def unused_initializer(model, work):
    """A leftover constant that nothing reads."""
    graph.put(model, "leftover_shape", np.array([1, -1], np.int64))
    return model


@variant()
def reshape_to_same(model, work):
    """The first output passed through Reshape to its own shape (0 copies a dimension)."""
    output = model.graph.output[0]
    rank = len(output.type.tensor_type.shape.dim)
    if rank < 2:
        return model
    graph.put(model, "same_shape", np.zeros(rank, np.int64))
    node = helper.make_node("Reshape", [output.name + "_inner", "same_shape"], [output.name], "same")
    graph.insert_before_output(model, output.name, [node], output.name + "_inner")
    return model
