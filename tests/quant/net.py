# ruff: noqa: E501 - one graph a line
"""A small network with its quantized twin, so that a test can spoil one thing and see what is said of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from qgate.formats.read import read_model
from qgate.measure.interface import Interface
from qgate.measure.static import Inspection, inspect_pair
from qgate.records import Measurement
from tests.quant.codes import nearest, scale_of
from tests.quant.twin import half_bytes, model, save

Arrays = dict[str, np.ndarray]
HEAD = "g (float[1,4,6,6] x) => (float[1,5] y)"
FLOAT = (
    f"{HEAD} {{a = Conv <pads = [1,1,1,1]> (x, w1, b1) b = Relu (a) c = Conv <pads = [1,1,1,1]> (b, w2, b2) d = Relu (c)"
    " e = Conv (d, w3, b3) f = Relu (e) p = AveragePool <kernel_shape = [2,2], strides = [2,2]> (f) h = Flatten (p) y = Gemm <transB = 1> (h, w4, b4)}"
)
LAYERS = ("w1", "w2", "w3", "w4")
ACTIVATIONS = {"x": 0.05, "b": 0.1, "d": 0.1, "f": 0.1, "h": 0.05}


def floats(seed: int = 3) -> Arrays:
    """Weights of three convolutions (the second and third of one shape) and a linear layer."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (8, 4, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 3, 3), "w4": (5, 32)}
    made = {name: (rng.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    made |= {f"b{n}": rng.standard_normal(shapes[f"w{n}"][0]).astype(np.float32) for n in range(1, 5)}
    return made


def coded(
    weights: Arrays, dtype: str = "int8", *, per_channel: bool = True, symmetric: bool = True
) -> Arrays:
    """Codes, scales and zero points of every weight, and int32 biases: w1q, w1s, w1z, b1q, b1s, ..."""
    held: Arrays = {}
    inputs = dict(zip(LAYERS, ("x", "b", "d", "h"), strict=True))
    for name in LAYERS:
        weight = weights[name]
        axes = tuple(range(1 if per_channel else 0, weight.ndim))
        scale, zero = scale_of(weight, dtype, axes, symmetric=symmetric)
        codes, bias = nearest(weight, scale, zero, dtype), name.replace("w", "b")
        flat = scale.reshape(-1) if per_channel else scale.reshape(())
        held |= {f"{name}q": codes, f"{name}s": flat, f"{name}z": zero.reshape(flat.shape)}
        step = np.atleast_1d(flat) * np.float32(ACTIVATIONS[inputs[name]])
        step = np.broadcast_to(step, weights[bias].shape)
        held |= {
            f"{bias}q": np.rint(weights[bias] / step).astype(np.int32),
            f"{bias}s": step.astype(np.float32),
        }
    return held


def quantized_text(settings: str = "<axis = 0>") -> str:
    parts = []
    for name in ACTIVATIONS:
        parts.append(
            f"{name}q = QuantizeLinear ({name}, {name}s, z8) {name}d = DequantizeLinear ({name}q, {name}s, z8)"
        )
    weights = [f"{n}d = DequantizeLinear {settings} ({n}q, {n}s, {n}z)" for n in LAYERS]
    weights += [f"b{n}d = DequantizeLinear <axis = 0> (b{n}q, b{n}s)" for n in range(1, 5)]
    quantize = dict(zip(ACTIVATIONS, parts, strict=True))
    return (
        f"{HEAD} {{{' '.join(weights)} {quantize['x']} a = Conv <pads = [1,1,1,1]> (xd, w1d, b1d) b = Relu (a) {quantize['b']}"
        f" c = Conv <pads = [1,1,1,1]> (bd, w2d, b2d) d = Relu (c) {quantize['d']} e = Conv (dd, w3d, b3d) f = Relu (e)"
        f" {quantize['f']} p = AveragePool <kernel_shape = [2,2], strides = [2,2]> (fd) h = Flatten (p) {quantize['h']} y = Gemm <transB = 1> (hd, w4d, b4d)}}"
    )


def candidate(held: Arrays, dtype: str = "int8", text: str | None = None) -> onnx.ModelProto:
    kinds = {"int4": half_bytes, "uint4": half_bytes}
    stored = {}
    for name, values in held.items():
        if name.endswith(("q", "z")) and name.startswith("w"):
            stored[name] = kinds[dtype](values, dtype) if dtype in kinds else np.asarray(values, dtype)
        else:
            stored[name] = np.asarray(values)
    stored |= {f"{name}s": np.float32(step) for name, step in ACTIVATIONS.items()} | {"z8": np.uint8(128)}
    return model(text or quantized_text(), **stored)


def reference(weights: Arrays, text: str = FLOAT) -> onnx.ModelProto:
    return model(text, **weights)


def inspect(ours: onnx.ModelProto, theirs: onnx.ModelProto, folder: Path, **declared: object) -> Inspection:
    """The static inspection of a pair of models."""
    one, two = save(ours, folder, "reference"), save(theirs, folder, "candidate")
    return inspect_pair(read_model(one), read_model(two), Interface(**declared))


def named(found: Inspection, name: str) -> list[Measurement]:
    return [m for m in found.measurements if m.name == name]


def derivations(found: Inspection) -> dict[str, Measurement]:
    """The ``weight.derivation`` of every tensor."""
    return {m.at.tensor: m for m in named(found, "weight.derivation")}


def unsound(found: Inspection) -> dict[str, str]:
    """Verdicts that are not derived, by tensor."""
    return {name: m.value for name, m in derivations(found).items() if m.value != "derived"}
