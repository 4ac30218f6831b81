"""Files that are not what they are sold as."""

from __future__ import annotations

import dataclasses

import numpy as np
from onnx import helper

from tests.corpus import graph, handmade
from tests.corpus.faults import QUANTIZED, NoPlaceError, Planted, Subject, fault


@fault("d100_float_as_candidate", QUANTIZED)
def float_as_candidate(s: Subject) -> Planted:
    """The reference's own bytes: nothing was quantized."""
    return Planted(graph.clone(s.model.proto), ["model"])


@fault("d101_dequantized_float")
def dequantized_float(s: Subject) -> Planted:
    """Float weights that went through int8 and back; no operator of quantization."""
    model = graph.clone(s.model.proto)
    for name, node in graph.float_weights(model):
        if name in graph.initializers(model):
            value, axis = graph.array(model, name), handmade.out_axis(node)
            scale = handmade.symmetric_scale(value, axis, 127)
            q = handmade.nearest(value, scale, axis)
            graph.put(model, name, (q * handmade.spread(scale, value, axis)).astype(np.float32))
    return Planted(model, ["model"])


@fault("d102_one_layer_only", ("qdq", "qop"))
def one_layer_only(s: Subject) -> Planted:
    """Only the smallest weight is quantized; the rest is float."""
    model = graph.clone(s.model.proto)
    known = [(n, x) for n, x in graph.float_weights(model, 16) if n in graph.initializers(model)]
    if len(known) < 2:
        raise NoPlaceError("one weight only")
    name, node = min(known, key=lambda entry: graph.array(model, entry[0]).size)
    value, axis = graph.array(model, name), handmade.out_axis(node)
    scale = handmade.symmetric_scale(value, axis, 127)
    handmade.replace_weight(model, name, handmade.nearest(value, scale, axis), scale, axis, "int8", "qdq")
    big = max(known, key=lambda entry: graph.array(s.model.proto, entry[0]).size)
    return Planted(model, ["model", big[0]])


@fault("d103_activations_only", ("qdq",))
def activations_only(s: Subject) -> Planted:
    """QuantizeLinear and DequantizeLinear around float weights: fake quantization."""
    model = s.copy()
    stored = graph.initializers(model)
    at = []
    for weight in graph.weights(model):
        node = next(
            (n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == weight.tensor),
            None,
        )
        if node is None or weight.scale not in stored:
            continue
        scale = graph.array(model, weight.scale).astype(np.float64)
        value = graph.array(model, weight.tensor).astype(np.float32).astype(np.float64)
        if scale.ndim > 1:
            raise NoPlaceError("blocked")
        spread = handmade.spread(scale, value, weight.axis)
        zero = (
            graph.array(model, weight.zero_point).astype(np.float32).astype(np.float64)
            if weight.zero_point
            else 0.0
        )
        spread_zero = handmade.spread(np.asarray(zero), value, weight.axis)
        name = node.output[0]
        model.graph.node.remove(node)
        graph.put(model, name, ((value - spread_zero) * spread).astype(np.float32))
        at.append(name)
    return Planted(model, ["model", *at])


@fault("d104_other_reference")
def other_reference(s: Subject) -> Planted:
    """An honest quantization of another training of the same architecture."""
    return Planted(s.requantize(s.retrain(1)), ["model", *[w.tensor for w in graph.weights(s.candidate)]])


@fault("d105_all_weights_drifted")
def all_drifted(s: Subject) -> Planted:
    """Every weight fine-tuned by 2 % before quantizing: an older or newer checkpoint."""
    changed = graph.clone(s.model.proto)
    for name, _ in graph.float_weights(changed):
        if name in graph.initializers(changed):
            value = graph.array(changed, name)
            moved = value + s.rng.normal(0, 0.02, value.shape) * np.abs(value).mean()
            graph.put(changed, name, moved.astype(np.float32))
    model = s.requantize(dataclasses.replace(s.model, proto=changed))
    return Planted(model, ["model", *[w.tensor for w in graph.weights(model)]])


@fault("d106_quantized_twice", ("qdq", "qop", "dynamic"))
def quantized_twice(s: Subject) -> Planted:
    """Float weights went through 4 bits before the honest recipe."""
    changed = graph.clone(s.model.proto)
    for name, node in graph.float_weights(changed):
        if name in graph.initializers(changed):
            value, axis = graph.array(changed, name), handmade.out_axis(node)
            scale = handmade.symmetric_scale(value, axis, 7)
            q = handmade.nearest(value, scale, axis, "int4")
            graph.put(changed, name, (q * handmade.spread(scale, value, axis)).astype(np.float32))
    model = s.requantize(dataclasses.replace(s.model, proto=changed))
    if s.recipe.scheme != "int8":
        raise NoPlaceError("4 bits is what this is")
    return Planted(model, ["model", *[w.tensor for w in graph.weights(model)]])


@fault("d107_fp16_sold_as_int8", ("half",))
def half_as_int8(s: Subject) -> Planted:
    """A half-precision file under ``--scheme int8``."""
    return Planted(s.copy(), ["model"], scheme="int8")


@fault("d108_int8_sold_as_int4", ("qdq",))
def int8_as_int4(s: Subject) -> Planted:
    if s.recipe.scheme != "int8":
        raise NoPlaceError("already 4 bits")
    return Planted(s.copy(), ["model", *[w.tensor for w in graph.weights(s.candidate)]], scheme="int4")


@fault("d109_half_is_float", ("half",))
def half_is_float(s: Subject) -> Planted:
    """Named half, stored as float32 behind a Cast pair at the input."""
    model = graph.clone(s.model.proto)
    return Planted(model, ["model"], scheme="fp16")


@fault("d110_dead_int8_decoration", QUANTIZED)
def decoration(s: Subject) -> Planted:
    """The float model plus unread int8 copies of its weights and one Q/DQ pair at the output."""
    model = graph.clone(s.model.proto)
    for name, _node in graph.float_weights(model):
        if name in graph.initializers(model):
            value = graph.array(model, name)
            scale = handmade.symmetric_scale(value, None, 127)
            graph.put(model, name + "_quantized", handmade.nearest(value, scale, None).astype(np.int8))
            graph.put(model, name + "_scale", scale)
            made = helper.make_node(
                "DequantizeLinear", [name + "_quantized", name + "_scale"], [name + "_dq"], name + "_dq"
            )
            model.graph.node.append(made)
    return Planted(model, ["model", *[name for name, _ in graph.float_weights(s.model.proto)]])


@fault("d111_zeros", QUANTIZED)
def all_zero(s: Subject) -> Planted:
    """An honest structure whose every weight is zero."""
    model = s.copy()
    at = []
    for weight in graph.weights(model):
        value = graph.array(model, weight.tensor)
        graph.put(model, weight.tensor, np.zeros_like(value))
        at.append(weight.tensor)
    return Planted(model, at)


@fault("d112_constant_output")
def constant_output(s: Subject) -> Planted:
    """The output is the reference's mean, whatever comes in."""
    from tests.corpus import models

    model = s.copy()
    entry = model.graph.output[0]
    if s.recipe.id == "fp16_half_io":
        raise NoPlaceError("half output")
    mean = models.run(s.model.proto, s.model.inputs)[entry.name].mean(0, keepdims=True)
    graph.put(model, "answer", mean)
    graph.put(model, "nought", np.zeros((), mean.dtype))
    made = [
        helper.make_node("Mul", [entry.name + "_true", "nought"], ["silence"], "mute"),
        helper.make_node("Add", ["silence", "answer"], [entry.name], "canned"),
    ]
    graph.insert_before_output(model, entry.name, made, entry.name + "_true")
    return Planted(model, ["canned", "mute", "answer", entry.name])


@fault("d113_weight_split_float_rest", ("qdq",))
def hidden_float_correction(s: Subject) -> Planted:
    """int8 weights plus a full float correction added behind them: size and truth are float."""
    model, weight = s.copy(), s.weight()
    node = next(
        (n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == weight.tensor), None
    )
    if node is None:
        raise NoPlaceError("no DequantizeLinear")
    rng = s.rng
    shape = list(graph.initializers(model)[weight.tensor].dims)
    name = node.output[0]
    node.output[0] = name + "_coarse"
    scale = float(np.max(np.abs(graph.array(model, weight.scale).astype(np.float32))))
    graph.put(model, name + "_fine", rng.normal(0, 3 * scale, shape).astype(np.float32))
    position = list(model.graph.node).index(node)
    rest = list(model.graph.node)
    made = helper.make_node("Add", [name + "_coarse", name + "_fine"], [name], name + "_sum")
    del model.graph.node[:]
    model.graph.node.extend([*rest[: position + 1], made, *rest[position + 1 :]])
    return Planted(model, [name + "_fine", name + "_sum", weight.tensor, name, weight.node])
