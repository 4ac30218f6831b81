# ruff: noqa: E501 - one row a case, so that cases can be compared
"""The float view of every quantized operator computes what ONNX Runtime computes for the operator itself.

Inputs lie on the grid of the quantizers, so that the only difference left is the rounding of outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.quant.twin import half_bytes, model, run, twin, view_of

RNG = np.random.default_rng(7)


def i8(*shape, low=-63, high=64):
    # Seven bits: on processors without VNNI the integer kernels of the runtime saturate sums of wider products.
    return RNG.integers(low, high, shape).astype(np.int8)


def u8(*shape, low=0, high=128):
    return RNG.integers(low, high, shape).astype(np.uint8)


def i4(*shape):
    return half_bytes(RNG.integers(-8, 8, shape), "int4")


def u4(*shape):
    return half_bytes(RNG.integers(0, 16, shape), "uint4")


def f32(*values):
    return np.array(values, np.float32)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def positive(*shape):
    return RNG.uniform(0.01, 0.05, shape).astype(np.float32)


def grid(*shape, scale=0.05, zero=128, low=40, high=220):
    """Floats that uint8 codes with this scale and zero point stand for exactly."""
    return ((RNG.integers(low, high, shape) - zero) * np.float32(scale)).astype(np.float32)


def whole(*shape):
    """Whole numbers whose dynamic quantization has scale 1 and zero point 0: from 0 to 255, both there."""
    values = RNG.integers(0, 256, shape).astype(np.float32)
    values.flat[0], values.flat[-1] = 0, 255
    return values


Q, Z = np.float32(0.05), np.uint8(128)  # the quantizer of every static input
X_IN = "xq = QuantizeLinear (x, xs, xz)"
STATIC = {"xs": Q, "xz": Z}


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    held: dict = field(default_factory=dict)
    feeds: dict = field(default_factory=dict)
    step: float = 0.0  # of the output's quantizer
    gone: tuple[str, ...] = ()  # operators that the view must not hold any more
    kept: tuple[str, ...] = ()
    opset: int = 21
    dynamic: bool = False
    slack: float = 0.0  # for kernels that look a function up in a table, or quantize inside


IMAGE = "g (float[1,4,6,6] x) => (float[N,M,H,W] y)"
ROWS = "g (float[3,8] x) => (float[N,M] y)"
ROWS32 = "g (float[3,32] x) => (float[N,M] y)"
QDQ = ("QuantizeLinear", "DequantizeLinear")


def qlinear_conv(name, w, ws, wz, bias, **more):
    b = ", b" if bias else ""
    held = {**STATIC, "w": w, "ws": ws, "wz": wz, "ys": np.float32(0.4), "yz": Z}
    if bias:
        held["b"] = RNG.integers(-900, 900, w.shape[0]).astype(np.int32)
    attributes = more.pop("attributes", "<pads = [1,1,1,1]>")
    return Case(
        name,
        f"{IMAGE} {{{X_IN} yq = QLinearConv {attributes} (xq, xs, xz, w, ws, wz, ys, yz{b}) y = DequantizeLinear (yq, ys, yz)}}",
        held, {"x": grid(1, 4, 6, 6)}, 0.4, ("QLinearConv", *QDQ), ("Conv",),
    )  # fmt: skip


def weight_qdq(name, w, scale, zero=None, attributes="", opset=21):
    """A weight behind DequantizeLinear, read by MatMul."""
    z = ", wz" if zero is not None else ""
    held = {"w": w, "ws": scale, **({"wz": zero} if zero is not None else {})}
    return Case(
        name, f"{ROWS} {{wf = DequantizeLinear {attributes} (w, ws{z}) y = MatMul (x, wf)}}",
        held, {"x": normal(3, 8)}, 0, QDQ, ("MatMul",), opset,
    )  # fmt: skip


WEIGHTS = [
    weight_qdq("qdq-int8-tensor", i8(8, 5), np.float32(0.02)),
    weight_qdq("qdq-uint8-tensor-zero", u8(8, 5), np.float32(0.02), np.uint8(131)),
    weight_qdq("qdq-int8-column", i8(8, 5), positive(5), np.zeros(5, np.int8)),
    weight_qdq("qdq-int8-row", i8(8, 5), positive(8), i8(8), "<axis = 0>"),
    weight_qdq("qdq-int8-negative-axis", i8(8, 5), positive(8), i8(8), "<axis = -2>"),
    weight_qdq("qdq-one-scale-list", i8(8, 5), positive(1), np.zeros(1, np.int8)),
    weight_qdq("qdq-int16-tensor", RNG.integers(-3000, 3000, (8, 5)).astype(np.int16), np.float32(1e-3)),
    weight_qdq("qdq-int4-tensor", i4(8, 5), np.float32(0.1)),
    weight_qdq("qdq-uint4-column", u4(8, 5), positive(5), half_bytes(RNG.integers(0, 16, 5), "uint4")),
    weight_qdq("qdq-int4-block", i4(8, 6), positive(2, 6), None, "<axis = 0, block_size = 4>"),
    weight_qdq("qdq-int8-block-zero", i8(8, 6), positive(8, 3), i8(8, 3), "<axis = 1, block_size = 2>"),
    weight_qdq("qdq-block-not-even", i8(8, 5), positive(8, 2), i8(8, 2), "<axis = 1, block_size = 3>"),
    weight_qdq("qdq-uint4-block-zero", u4(8, 6), positive(4, 6), half_bytes(RNG.integers(0, 16, (4, 6)), "uint4"),
               "<axis = 0, block_size = 2>"),
]  # fmt: skip

STATIC_OPERATORS = [
    Case(
        "qdq-conv",
        f"{IMAGE} {{{X_IN} xf = DequantizeLinear (xq, xs, xz) wf = DequantizeLinear <axis = 0> (w, ws, wz)"
        " bf = DequantizeLinear <axis = 0> (b, bs) c = Conv <pads = [1,1,1,1]> (xf, wf, bf) r = Relu (c)"
        " yq = QuantizeLinear (r, ys, yz) y = DequantizeLinear (yq, ys, yz)}",
        {**STATIC, "w": i8(6, 4, 3, 3), "ws": positive(6), "wz": np.zeros(6, np.int8),
         "b": RNG.integers(-900, 900, 6).astype(np.int32), "bs": positive(6) * Q, "ys": np.float32(0.3), "yz": np.uint8(0)},
        {"x": grid(1, 4, 6, 6)}, 0.3, QDQ, ("Conv", "Relu"),
    ),
    qlinear_conv("qlinearconv-tensor", u8(6, 4, 3, 3), np.float32(0.02), np.uint8(60), False),
    qlinear_conv("qlinearconv-channel-bias", i8(6, 4, 3, 3), positive(6), np.zeros(6, np.int8), True),
    qlinear_conv("qlinearconv-tensor-bias", i8(6, 4, 3, 3), np.float32(0.02), np.int8(0), True),
    qlinear_conv("qlinearconv-one-scale-list", i8(6, 4, 3, 3), f32(0.02), np.zeros(1, np.int8), True),
    qlinear_conv("qlinearconv-group-stride", i8(8, 2, 3, 3), positive(8), np.zeros(8, np.int8), True,
                 attributes="<group = 2, strides = [2,1]>"),
    Case(
        "qlinearmatmul-column",
        f"{ROWS} {{{X_IN} yq = QLinearMatMul (xq, xs, xz, w, ws, wz, ys, yz) y = DequantizeLinear (yq, ys, yz)}}",
        {**STATIC, "w": i8(8, 5), "ws": positive(5), "wz": np.zeros(5, np.int8), "ys": np.float32(0.2), "yz": Z},
        {"x": grid(3, 8)}, 0.2, ("QLinearMatMul", *QDQ), ("MatMul",),
    ),
    Case(
        "qlinearmatmul-constant-left",
        f"g (float[8,3] x) => (float[N,M] y) {{{X_IN} yq = QLinearMatMul (w, ws, wz, xq, xs, xz, ys, yz) y = DequantizeLinear (yq, ys, yz)}}",
        {**STATIC, "w": u8(5, 8), "ws": np.float32(0.03), "wz": np.uint8(61), "ys": np.float32(0.2), "yz": Z},
        {"x": grid(8, 3)}, 0.2, ("QLinearMatMul", *QDQ), ("MatMul",),
    ),
    *(
        Case(
            f"qgemm-{name}",
            f"{ROWS} {{{X_IN} y{'q' if out else ''} = com.microsoft.QGemm <{settings}> (xq, xs, xz, w, ws, wz, c{', ys, yz' if out else ''})"
            f"{' y = DequantizeLinear (yq, ys, yz)' if out else ''}}}",
            {**STATIC, "w": i8(*shape), "ws": scale, "wz": np.zeros(np.shape(scale), np.int8),
             "c": RNG.integers(-900, 900, 5).astype(np.int32), **({"ys": np.float32(0.2), "yz": Z} if out else {})},
            {"x": grid(3, 8)}, 0.2 if out else 0, ("QGemm", *QDQ), ("MatMul",),
        )
        for name, settings, shape, scale, out in (
            ("tensor", "transB = 0", (8, 5), np.float32(0.02), True),
            ("column", "transB = 0", (8, 5), positive(5), True),
            ("transposed", "transB = 1", (5, 8), positive(5), True),
            ("float-output", "transB = 1", (5, 8), positive(5), False),
            ("alpha", "transB = 1, alpha = 0.5", (5, 8), np.float32(0.02), False),
        )
    ),
]  # fmt: skip


def pointwise(name, call, second="", step=0.05, text=ROWS, feeds=None, extra=None, kept=(), slack=0.0):
    """A QLinear operator of com.microsoft on xq, whose output is dequantized."""
    return Case(
        name,
        f"{text} {{{X_IN} {second} yq = com.microsoft.{call} y = DequantizeLinear (yq, ys, yz)}}",
        {**STATIC, "ys": np.float32(step), "yz": Z, **(extra or {})},
        {"x": grid(3, 8), **(feeds or {})}, step, QDQ, kept, slack=slack,
    )  # fmt: skip


TWO = "g (float[3,8] x, float[3,8] z) => (float[N,M] y)"
Z_IN = "zq = QuantizeLinear (z, zs, zz)"
SECOND = {"zs": np.float32(0.02), "zz": np.uint8(100)}
Z_GRID = {"z": grid(3, 8, scale=0.02, zero=100)}
IMAGE_FEED = {"x": grid(1, 4, 6, 6)}
POINTWISE = [
    pointwise("qlinearadd", "QLinearAdd (xq, xs, xz, zq, zs, zz, ys, yz)", Z_IN, 0.1, TWO, Z_GRID, SECOND, ("Add",)),
    pointwise("qlinearmul", "QLinearMul (xq, xs, xz, zq, zs, zz, ys, yz)", Z_IN, 0.1, TWO, Z_GRID, SECOND, ("Mul",)),
    pointwise("qlinearadd-constant", "QLinearAdd (xq, xs, xz, k, zs, zz, ys, yz)", "", 0.1,
              extra={**SECOND, "k": u8(3, 8)}, kept=("Add",)),
    pointwise("qlinearsigmoid", "QLinearSigmoid (xq, xs, xz, ys, yz)", "", 1 / 128, kept=("Sigmoid",)),
    pointwise("qlinearleakyrelu", "QLinearLeakyRelu <alpha = 0.2> (xq, xs, xz, ys, yz)", kept=("LeakyRelu",)),
    pointwise("qlinearsoftmax", "QLinearSoftmax <axis = 1, opset = 13> (xq, xs, xz, ys, yz)", "", 1 / 120, kept=("Softmax",), slack=1 / 120),
    pointwise("qlinearaveragepool", "QLinearAveragePool <kernel_shape = [2,2], strides = [2,2]> (xq, xs, xz, ys, yz)",
              text=IMAGE, feeds=IMAGE_FEED, kept=("AveragePool",)),
    pointwise("qlinearglobalaveragepool", "QLinearGlobalAveragePool (xq, xs, xz, ys, yz)", text=IMAGE, feeds=IMAGE_FEED,
              kept=("GlobalAveragePool",)),
    pointwise("qlinearconcat", "QLinearConcat <axis = 1> (ys, yz, xq, xs, xz, zq, zs, zz)", Z_IN, 0.05, TWO, Z_GRID, SECOND, ("Concat",)),
    pointwise("qlinearconcat-constant", "QLinearConcat <axis = 1> (ys, yz, xq, xs, xz, k, zs, zz)",
              extra={**SECOND, "k": u8(3, 8)}, kept=("Concat",)),
]  # fmt: skip

DYNAMIC_X = "xq, xs, xz = DynamicQuantizeLinear (x)"
DYNAMIC = [
    *(
        Case(
            f"matmulinteger-{name}",
            f"{ROWS} {{{DYNAMIC_X} p = MatMulInteger (xq, w, xz, wz) f = Cast <to = 1> (p) s = Mul ({order}) y = Mul (f, s)}}",
            {"w": w, "ws": ws, "wz": wz}, {"x": whole(3, 8)}, 0,
            ("MatMulInteger", "DynamicQuantizeLinear", "Cast", "Mul"), ("MatMul",), 21, True,
        )
        for name, w, ws, wz, order in (
            ("tensor", u8(8, 5), np.float32(0.02), np.uint8(60), "xs, ws"),
            ("column", i8(8, 5), positive(5), np.zeros(5, np.int8), "ws, xs"),
        )
    ),
    Case(
        "convinteger",
        f"{IMAGE} {{{DYNAMIC_X} p = ConvInteger <pads = [1,1,1,1]> (xq, w, xz, wz) f = Cast <to = 1> (p) s = Mul (xs, ws)"
        " c = Mul (f, s) y = Add (c, b)}",
        {"w": u8(6, 4, 3, 3), "ws": np.float32(0.02), "wz": np.uint8(60), "b": normal(1, 6, 1, 1)},
        {"x": whole(1, 4, 6, 6)}, 0, ("ConvInteger", "Cast", "Mul", "Add"), ("Conv",), 21, True,
    ),
    Case(
        "matmulintegertofloat",
        f"{ROWS} {{{DYNAMIC_X} y = com.microsoft.MatMulIntegerToFloat (xq, w, xs, ws, xz, wz, b)}}",
        {"w": i8(8, 5), "ws": positive(5), "wz": np.zeros(5, np.int8), "b": normal(5)},
        {"x": whole(3, 8)}, 0, ("MatMulIntegerToFloat", "DynamicQuantizeLinear"), ("MatMul",), 21, True,
    ),
    *(
        Case(
            f"dynamicquantizematmul-{name}",
            f"{ROWS} {{y = com.microsoft.DynamicQuantizeMatMul (x, w, ws, {zero}, {bias})}}",
            {"w": w, "ws": ws, **({"wz": wz} if zero else {}), **({"b": normal(5)} if bias else {})},
            {"x": whole(3, 8)}, 0, ("DynamicQuantizeMatMul",), ("MatMul",), 21, True,
        )
        for name, w, ws, wz, zero, bias in (
            ("column-bias", i8(8, 5), positive(5), np.zeros(5, np.int8), "wz", "b"),
            ("tensor-zero", u8(8, 5), f32(0.02), np.array([60], np.uint8), "wz", ""),
            ("no-zero", i8(8, 5), f32(0.02), None, "", ""),
        )
    ),
]  # fmt: skip


def packed4(values):
    """Rows of codes 0..15, two to a byte, the first in the low half."""
    even = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
    return (even[..., 0::2] | (even[..., 1::2] << 4)).astype(np.uint8)


def nbits(name, k, n, block, bits, zero, bias=False, junk=0):
    """``zero``: none, packed or float; ``junk`` fills the unused half bytes of packed zero points."""
    blocks = -(-k // block)
    codes = u8(n, blocks, block, high=1 << bits)
    held = {"w": packed4(codes) if bits == 4 else codes, "ws": positive(n, blocks).reshape(-1)}
    if zero == "packed":
        points = u8(n, blocks, high=1 << bits)
        if bits == 4:
            points = packed4(points)
            if blocks % 2:
                points[:, -1] |= junk << 4
        held["wz"] = points.reshape(-1)
    elif zero == "float":
        held["wz"] = RNG.uniform(5, 10, (n, blocks)).astype(np.float32).reshape(-1)
    if bias:
        held["b"] = normal(n)
    operands = f"x, w, ws{', wz' if zero else (', ' if bias else '')}{', , b' if bias else ''}"
    return Case(
        f"matmulnbits-{name}",
        f"g (float[3,{k}] x) => (float[N,M] y) {{y = com.microsoft.MatMulNBits <K = {k}, N = {n}, bits = {bits}, block_size = {block}> ({operands})}}",
        held, {"x": normal(3, k)}, 0, ("MatMulNBits",), ("MatMul",),
    )  # fmt: skip


NBITS = [
    nbits("4", 64, 5, 16, 4, ""),
    nbits("4-zero", 64, 5, 16, 4, "packed"),
    nbits("4-odd-blocks", 48, 5, 16, 4, "packed"),
    nbits("4-one-block", 16, 5, 16, 4, "packed"),
    nbits("4-one-block-filled", 16, 5, 16, 4, "packed", junk=8),
    nbits("4-ragged", 40, 5, 16, 4, "packed"),
    nbits("4-float-zero", 64, 5, 16, 4, "float"),
    nbits("4-one-block-float-zero", 16, 5, 16, 4, "float"),
    nbits("4-bias", 32, 5, 16, 4, "", bias=True),
    nbits("8", 64, 5, 16, 8, ""),
    nbits("8-zero", 64, 5, 16, 8, "packed"),
    nbits("8-ragged", 40, 5, 16, 8, "packed"),
]


def gather_block(name, data, scale, zero=None, settings="", table_rows=6):
    z = ", z" if zero is not None else ""
    return Case(
        f"gatherblock-{name}",
        f"g (int64[4] i) => (float[N,M] y) {{y = com.microsoft.GatherBlockQuantized <{settings}> (t, i, s{z})}}",
        {"t": data, "s": scale, **({"z": zero} if zero is not None else {})},
        {"i": np.array([0, table_rows - 1, 2, 2])}, 0, ("GatherBlockQuantized",), ("Gather",),
    )  # fmt: skip


BLOCK = "gather_axis = 0, quantize_axis = 1, block_size = 16"
GATHER = [
    gather_block("int4", i4(6, 32), positive(6, 2), None, BLOCK),
    gather_block("int4-zero", i4(6, 32), positive(6, 2), i4(6, 2), BLOCK),
    gather_block("uint4-zero", u4(6, 32), positive(6, 2), u4(6, 2), BLOCK),
    gather_block("uint4", u4(6, 32), positive(6, 2), None, BLOCK),
    gather_block("uint8-packed", u8(6, 16), positive(6, 2), None, f"{BLOCK}, bits = 4"),
    gather_block("uint8-packed-zero", u8(6, 16), positive(6, 2), u8(6, 1), f"{BLOCK}, bits = 4"),
    gather_block("uint8", u8(6, 32), positive(6, 2), None, f"{BLOCK}, bits = 8"),
    gather_block("uint8-zero", u8(6, 32), positive(6, 2), u8(6, 2), f"{BLOCK}, bits = 8"),
]


def lstm(name, scale_shape, directions=1, zero=None):
    hidden, width = 4, 3
    held = {
        "w": i8(directions, width, 4 * hidden), "r": i8(directions, hidden, 4 * hidden),
        "b": normal(directions, 8 * hidden) * np.float32(0.1),
        "ws": positive(*scale_shape) / 4, "rs": positive(*scale_shape) / 4,
        "wz": np.zeros(scale_shape, np.int8), "rz": np.zeros(scale_shape, np.int8),
    }  # fmt: skip
    direction = "bidirectional" if directions == 2 else "forward"
    return Case(
        f"dynamicquantizelstm-{name}",
        f'g (float[5,2,3] x) => (float[S,D,B,H] y) {{y, h, c = com.microsoft.DynamicQuantizeLSTM <hidden_size = {hidden}, direction = "{direction}">'
        " (x, w, r, b, , , , , ws, wz, rs, rz)}",
        held, {"x": whole(5, 2, 3) / np.float32(64)}, 0, ("DynamicQuantizeLSTM",), ("LSTM",), 21, True, 0.05,
    )  # fmt: skip


FUSED = [
    *(
        Case(
            f"fusedconv-{activation or 'plain'}",
            f"{IMAGE} {{y = com.microsoft.FusedConv <{settings}kernel_shape = [3,3]> (x, w, b)}}",
            {"w": normal(6, 4, 3, 3), "b": normal(6)}, {"x": normal(1, 4, 6, 6)}, 0, ("FusedConv",), ("Conv", *kept),
        )
        for activation, settings, kept in (
            ("relu", 'activation = "Relu", ', ("Relu",)),
            ("leakyrelu", 'activation = "LeakyRelu", activation_params = [0.3], ', ("LeakyRelu",)),
            ("clip", 'activation = "Clip", activation_params = [-1.0, 1.0], ', ("Clip",)),
            ("hardsigmoid", 'activation = "HardSigmoid", activation_params = [0.3, 0.4], ', ("HardSigmoid",)),
            ("tanh", 'activation = "Tanh", ', ("Tanh",)),
            ("", "", ()),
        )
    ),
    Case(
        "fusedconv-sum",
        "g (float[1,4,6,6] x, float[1,6,4,4] z) => (float[N,M,H,W] y)"
        ' {y = com.microsoft.FusedConv <activation = "Relu", kernel_shape = [3,3]> (x, w, b, z)}',
        {"w": normal(6, 4, 3, 3), "b": normal(6)}, {"x": normal(1, 4, 6, 6), "z": normal(1, 6, 4, 4)}, 0,
    ),
    *(
        Case(
            f"fusedgemm-{name}", f"{ROWS} {{y = com.microsoft.FusedGemm <{settings}> (x, w, b)}}",
            {"w": normal(5, 8), "b": normal(5)}, {"x": normal(3, 8)}, 0, ("FusedGemm",), ("MatMul", *kept),
        )
        for name, settings, kept in (
            ("relu", 'activation = "Relu", transB = 1', ("Relu",)),
            ("leakyrelu", 'activation = "LeakyRelu", activation_alpha = 0.4, transB = 1, alpha = 0.5, beta = 2.0', ("LeakyRelu",)),
            ("hardsigmoid", 'activation = "HardSigmoid", activation_alpha = 0.3, activation_beta = 0.4, transB = 1', ("HardSigmoid",)),
        )
    ),
]  # fmt: skip


def folded(
    name, body, text=ROWS, feeds=None, kept=("MatMul",), gone=("Cast", "Sub", "Mul", "Div", "Add"), **held
):
    return Case(name, f"{text} {{{body}}}", held, feeds or {"x": normal(3, 8)}, 0, gone, kept)


CODED = [
    folded("cast-mul", "f = Cast <to = 1> (w) d = Mul (f, s) y = MatMul (x, d)", w=i8(8, 5), s=positive(5)),
    folded("mul-cast", "f = Cast <to = 1> (w) d = Mul (s, f) y = MatMul (x, d)", w=i8(8, 5), s=positive(8, 1)),
    folded("cast-sub-mul", "f = Cast <to = 1> (w) c = Sub (f, z) d = Mul (c, s) y = MatMul (x, d)",
           w=u8(8, 5), s=positive(5), z=f32(120, 121, 119, 3, 128)),
    folded("cast-div", "f = Cast <to = 1> (w) d = Div (f, s) y = MatMul (x, d)", w=i8(8, 5), s=f32(20, 30, 41, 52, 33)),
    folded("cast-mul-add", "f = Cast <to = 1> (w) d = Mul (f, s) e = Add (d, s) y = MatMul (x, e)", w=i8(8, 5), s=positive(5)),
    folded("cast-add-itself", "f = Cast <to = 1> (w) d = Add (f, f) y = MatMul (x, d)", w=i8(8, 5, low=90, high=128)),
    folded("cast-alone", "f = Cast <to = 1> (w) y = MatMul (x, f)", w=i8(8, 5)),
    folded("cast-mul-wider", "f = Cast <to = 1> (w) d = Mul (f, s) y = MatMul (x, d)", w=i8(1, 5), s=positive(8, 5)),
    folded("cast-mul-twice", "f = Cast <to = 1> (w) d = Mul (f, s) e = Mul (d, t) y = MatMul (x, e)",
           w=i8(8, 5), s=positive(5), t=positive(8, 1)),
    folded("cast-mul-transpose", "f = Cast <to = 1> (w) d = Mul (f, s) e = Transpose (d) y = MatMul (x, e)", w=i8(5, 8), s=positive(5, 1)),
    folded("quantize-constant", "q = QuantizeLinear (w, s, z) d = DequantizeLinear (q, s, z) y = MatMul (x, d)",
           gone=QDQ, w=normal(8, 5), s=np.float32(0.02), z=np.int8(3)),
    folded("quantize-constant-channel", "q = QuantizeLinear <axis = 0> (w, s, z) d = DequantizeLinear <axis = 0> (q, s, z) y = MatMul (x, d)",
           gone=QDQ, w=normal(8, 5), s=positive(8), z=np.zeros(8, np.int8)),
    folded("quantize-constant-output-dtype", "q = QuantizeLinear <output_dtype = 3> (w, s) d = DequantizeLinear (q, s) y = MatMul (x, d)",
           gone=QDQ, w=normal(8, 5), s=np.float32(0.02)),
    folded("quantize-constant-block", "q = QuantizeLinear <axis = 0, block_size = 4> (w, s, z) d = DequantizeLinear <axis = 0, block_size = 4> (q, s, z) y = MatMul (x, d)",
           gone=QDQ, w=normal(8, 5), s=positive(2, 5), z=np.zeros((2, 5), np.int8)),
    folded("quantize-constant-float8", "q = QuantizeLinear <output_dtype = 17> (w, s) d = DequantizeLinear (q, s) y = MatMul (x, d)",
           gone=QDQ, w=normal(8, 5), s=np.float32(0.02)),
]  # fmt: skip

LAYOUT = [
    folded("identity", "i = Identity (w) j = Identity (x) y = MatMul (j, i)", gone=("Identity",), w=normal(8, 5)),
    folded("dropout", "j = Dropout (x) y = MatMul (j, w)", gone=("Dropout",), w=normal(8, 5)),
    folded("double-cast", "a = Cast <to = 11> (x) b = Cast <to = 1> (a) y = MatMul (b, w)", gone=("Cast",), w=normal(8, 5)),
    folded("half-constant", "h = Cast <to = 1> (w) y = MatMul (x, h)", gone=("Cast",), w=normal(8, 5).astype(np.float16)),
    *(
        folded(f"layout-{name}", f"d = DequantizeLinear <axis = 0> (w, s, z) v = {call} y = MatMul (x, v)",
               gone=(*QDQ, call.split()[0]), w=i8(*shape), s=positive(shape[0]), z=np.zeros(shape[0], np.int8), **held)
        for name, call, shape, held in (
            ("transpose", "Transpose (d)", (5, 8), {}),
            ("transpose-perm", "Transpose <perm = [1,0]> (d)", (5, 8), {}),
            ("reshape", "Reshape (d, t)", (4, 10), {"t": np.array([8, 5])}),
            ("reshape-infer", "Reshape (d, t)", (4, 10), {"t": np.array([8, -1])}),
            ("reshape-copy", "Reshape (d, t)", (8, 5), {"t": np.array([0, -1])}),
            ("flatten", "Flatten <axis = 1> (d)", (8, 5, 1), {}),
            ("flatten-negative", "Flatten <axis = -1> (d)", (2, 4, 5), {}),
            ("flatten-negative-two", "Flatten <axis = -2> (d)", (8, 5, 1), {}),
            ("squeeze", "Squeeze (d, t)", (8, 1, 5), {"t": np.array([1])}),
            ("squeeze-all", "Squeeze (d)", (8, 1, 5, 1), {}),
        )
    ),
    folded("unsqueeze", "d = DequantizeLinear (w, s) u = Unsqueeze (d, t) v = Squeeze (u, t) y = MatMul (x, v)",
           gone=(*QDQ, "Unsqueeze"), w=i8(8, 5), s=np.float32(0.1), t=np.array([-1, 0])),
    *(
        folded(f"arithmetic-{name}", f"v = {call} y = MatMul (x, v)", gone=(call.split()[0],), w=normal(8, 5), **held)
        for name, call, held in (
            ("add", "Add (w, k)", {"k": normal(5)}), ("sub", "Sub (w, k)", {"k": normal(8, 1)}),
            ("mul", "Mul (w, k)", {"k": normal(5)}), ("div", "Div (w, k)", {"k": positive(5)}),
            ("pow", "Pow (w, k)", {"k": np.float32(2)}), ("min", "Min (w, k)", {"k": np.float32(0.5)}),
            ("max", "Max (w, k)", {"k": normal(5)}), ("exp", "Exp (w)", {}), ("abs", "Abs (w)", {}),
            ("neg", "Neg (w)", {}), ("floor", "Floor (w)", {}), ("ceil", "Ceil (w)", {}), ("reciprocal", "Reciprocal (w)", {}),
            ("gather", "Gather <axis = 1> (w, k)", {"k": np.array([4, 1, 1])}),
            ("gather-negative", "Gather <axis = 0> (w, k)", {"k": np.array([-1, 0, 1, 2, 3, 4, 5, 6])}),
            ("concat", "Concat <axis = -1> (w, k)", {"k": normal(8, 2)}),
            ("slice", "Slice (w, a, b, c)", {"a": np.array([1]), "b": np.array([2**63 - 1]), "c": np.array([1])}),
            ("slice-step", "Slice (w, a, b, c, d)",
             {"a": np.array([2**31]), "b": np.array([-(2**31)]), "c": np.array([-1]), "d": np.array([-2])}),
            ("slice-two", "Slice (w, a, b)", {"a": np.array([0, 1]), "b": np.array([8, 4])}),
        )
    ),
    folded("whole-division", "q = Div (a, b) v = Reshape (w, q) y = MatMul (x, v)", gone=("Div", "Reshape"),
           w=normal(40), a=np.array([17, -7]), b=np.array([2, 5])),
    folded("shape-arithmetic", "s = Shape (w) t = Cast <to = 6> (s) u = Cast <to = 7> (t) v = Reshape (k, u) y = MatMul (x, v)",
           gone=("Shape", "Cast", "Reshape"), w=normal(8, 5), k=normal(5, 8)),
    folded("filled", "f = ConstantOfShape <value = float[1] {2.5}> (t) v = Mul (f, w) y = MatMul (x, v)",
           gone=("ConstantOfShape", "Mul"), t=np.array([8, 5]), w=normal(5)),
    folded("filled-default", "f = ConstantOfShape (t) v = Add (f, w) y = MatMul (x, v)",
           gone=("ConstantOfShape", "Add"), t=np.array([8, 5]), w=normal(5)),
    folded("range", "r = Range (a, b, c) f = Cast <to = 1> (r) v = Reshape (f, t) y = MatMul (x, v)",
           gone=("Range", "Reshape"), a=np.int64(0), b=np.int64(40), c=np.int64(1), t=np.array([8, 5])),
    *(
        folded(f"constant-{name}", f"k = Constant <{value}> () v = Mul (w, k) y = MatMul (x, v)", gone=("Constant", "Mul"), w=normal(8, 5))
        for name, value in (
            ("tensor", "value = float[1] {2.5}"), ("float", "value_float = 2.5"),
            ("floats", "value_floats = [1.0, 2.0, 3.0, 4.0, 5.0]"),
        )
    ),
    folded("constant-ints", "k = Constant <value_ints = [8, 5]> () v = Reshape (w, k) y = MatMul (x, v)",
           gone=("Constant", "Reshape"), w=normal(40)),
    folded("constant-int", "k = Constant <value_int = 3> () l = Cast <to = 1> (k) v = Mul (w, l) y = MatMul (x, v)",
           gone=("Constant", "Mul"), w=normal(8, 5)),
]  # fmt: skip


def gemm(name, settings, shape, c="b", **held):
    return folded(
        f"gemm-{name}",
        f"y = Gemm <{settings}> (x, w{', ' + c if c else ''})",
        gone=("Gemm",),
        w=normal(*shape),
        **held,
    )


def norm(*, channels):
    return {
        "g": positive(channels) * 30,
        "be": normal(channels),
        "mu": normal(channels),
        "va": positive(channels) * 20,
    }


BATCH_NORM = "y = BatchNormalization <epsilon = 0.01> (c, g, be, mu, va)"
CONV_FEED = {"x": normal(1, 4, 6, 6)}
CONV = {"text": IMAGE, "feeds": CONV_FEED, "kept": ("Conv",)}
FOLDS = [
    gemm("plain", "transB = 0", (8, 5), b=normal(5)),
    gemm("transposed", "transB = 1", (5, 8), b=normal(5)),
    gemm("alpha-beta", "transB = 1, alpha = 0.5, beta = 2.0", (5, 8), b=normal(1, 5)),
    gemm("no-bias", "alpha = 3.0", (8, 5), c=""),
    gemm("bias-rows", "beta = 0.5", (8, 5), b=normal(3, 1)),
    gemm("bias-scalar", "beta = 0.5", (8, 5), b=np.float32(2)),
    gemm("beta-zero", "beta = 0.0", (8, 5), b=normal(5)),
    Case("gemm-dynamic-bias", "g (float[3,8] x, float[3,5] z) => (float[N,M] y) {y = Gemm (x, w, z)}",
         {"w": normal(8, 5)}, {"x": normal(3, 8), "z": normal(3, 5)}, 0, ("Gemm",), ("MatMul",)),
    Case("gemm-dynamic-bias-beta", "g (float[3,8] x, float[3,5] z) => (float[N,M] y) {y = Gemm <beta = 2.0> (x, w, z)}",
         {"w": normal(8, 5)}, {"x": normal(3, 8), "z": normal(3, 5)}, 0, (), ("Gemm",)),
    Case("gemm-dynamic-bias-add", "g (float[3,8] x, float[3,5] z) => (float[N,M] y) {p = Gemm (x, w, z) y = Add (p, b)}",
         {"w": normal(8, 5), "b": normal(5)}, {"x": normal(3, 8), "z": normal(3, 5)}, 0, ("Gemm",), ("MatMul", "Add")),
    Case("gemm-dynamic-bias-mul", "g (float[3,8] x, float[3,5] z) => (float[N,M] y) {p = Gemm (x, w, z) y = Mul (p, b)}",
         {"w": normal(8, 5), "b": normal(5)}, {"x": normal(3, 8), "z": normal(3, 5)}, 0, ("Gemm",), ("MatMul", "Mul")),
    Case("gemm-transposed-input", "g (float[8,3] x) => (float[N,M] y) {y = Gemm <transA = 1> (x, w)}",
         {"w": normal(8, 5)}, {"x": normal(8, 3)}, 0, (), ("Gemm",)),
    folded("matmul-add", "p = MatMul (x, w) y = Add (p, b)", w=normal(8, 5), b=normal(5)),
    folded("matmul-add-left", "p = MatMul (x, w) y = Add (b, p)", w=normal(8, 5), b=normal(1, 5)),
    folded("matmul-mul-add", "p = MatMul (x, w) q = Mul (p, m) y = Add (q, b)", w=normal(8, 5), m=normal(5), b=normal(5)),
    folded("matmul-add-mul-scalar", "p = MatMul (x, w) q = Add (p, b) y = Mul (q, m)", w=normal(8, 5), m=np.float32(0.3), b=normal(5)),
    folded("matmul-add-add", "p = MatMul (x, w) q = Add (p, b) y = Add (q, c)", w=normal(8, 5), b=normal(5), c=normal(5)),
    folded("matmul-scalar-bias", "p = MatMul (x, w) q = Add (p, b) r = Mul (q, m) y = Add (r, b)", gone=(), w=normal(8, 5), m=normal(5), b=np.float32(0.7)),
    folded("gemm-rows-add", "p = Gemm (x, w, b) y = Add (p, c)", gone=("Gemm",), kept=("MatMul", "Add"), w=normal(8, 5), b=normal(3, 1), c=normal(5)),
    folded("gemm-rows-mul", "p = Gemm (x, w, b) y = Mul (p, c)", gone=("Gemm",), kept=("MatMul", "Mul"), w=normal(8, 5), b=normal(3, 1), c=normal(5)),
    folded("gemm-square-rows-add", "p = Gemm (x, w, b) y = Add (p, c)", gone=("Gemm",), kept=("MatMul", "Add"), w=normal(8, 3), b=normal(3, 1), c=normal(3)),
    folded("matmul-rows-stay", "p = MatMul (x, w) y = Add (p, b)", gone=(), kept=("MatMul", "Add"), w=normal(8, 5), b=normal(3, 1)),
    folded("matmul-quantized-bias", "d = DequantizeLinear (w, s) e = DequantizeLinear (b, t) p = MatMul (x, d) y = Add (p, e)",
           gone=(*QDQ, "Add"), w=i8(8, 5), s=np.float32(0.1), b=RNG.integers(-99, 99, 5).astype(np.int32), t=np.float32(0.01)),
    folded("conv-add", "c = Conv (x, w) y = Add (c, b)", w=normal(6, 4, 3, 3), b=normal(6, 1, 1), **CONV),
    folded("conv-bias-add", "c = Conv (x, w, d) y = Add (c, b)", w=normal(6, 4, 3, 3), d=normal(6), b=normal(1, 6, 1, 1), **CONV),
    folded("conv-mul", "c = Conv (x, w, d) y = Mul (c, b)", w=normal(6, 4, 3, 3), d=normal(6), b=normal(1, 6, 1, 1), **CONV),
    folded("conv-norm", f"c = Conv (x, w) {BATCH_NORM}", gone=("BatchNormalization",), w=normal(6, 4, 3, 3), **norm(channels=6), **CONV),
    folded("conv-bias-norm", f"c = Conv (x, w, d) {BATCH_NORM}", gone=("BatchNormalization",), w=normal(6, 4, 3, 3), d=normal(6),
           **norm(channels=6), **CONV),
    folded("conv-group-norm", f"c = Conv <group = 4> (x, w) {BATCH_NORM}", gone=("BatchNormalization",), w=normal(8, 1, 3, 3),
           **norm(channels=8), **CONV),
    folded("conv-int8-norm", f"d = DequantizeLinear <axis = 0> (w, s, z) c = Conv (x, d) {BATCH_NORM}",
           gone=(*QDQ, "BatchNormalization"), w=i8(6, 4, 3, 3), s=positive(6), z=np.zeros(6, np.int8), **norm(channels=6), **CONV),
    folded("conv-width-stays", "c = Conv (x, w) y = Add (c, b)", gone=(), w=normal(4, 4, 3, 3), b=normal(4),
           text=IMAGE, feeds=CONV_FEED, kept=("Conv", "Add")),
    folded("convtranspose-norm", f"c = ConvTranspose (x, w, d) {BATCH_NORM}", gone=("BatchNormalization",),
           w=normal(4, 6, 2, 2), d=normal(6), **norm(channels=6), text=IMAGE, feeds=CONV_FEED, kept=("ConvTranspose",)),
    folded("convtranspose-group-norm", f"c = ConvTranspose <group = 2> (x, w) {BATCH_NORM}", gone=("BatchNormalization",),
           w=normal(4, 3, 2, 2), **norm(channels=6), text=IMAGE, feeds=CONV_FEED, kept=("ConvTranspose",)),
    folded("neutral", "a = Transpose <perm = [0,1]> (x) b = Concat <axis = 0> (a) y = MatMul (b, w)", gone=("Transpose", "Concat"), w=normal(8, 5)),
    folded("neutral-pad", "a = Pad (x, p) y = MatMul (a, w)", gone=("Pad",), w=normal(8, 5), p=np.zeros(4, np.int64)),
]  # fmt: skip

CASES = [
    *WEIGHTS, *STATIC_OPERATORS, *POINTWISE, *DYNAMIC, *NBITS, *GATHER,
    lstm("tensor", (1,)), lstm("gates", (1, 16)), lstm("two-directions", (2,), 2),
    *FUSED, *CODED, *LAYOUT, *FOLDS,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_float_view_computes_what_the_runtime_computes(case, tmp_path):
    proto = model(case.text, case.opset, **case.held)
    view = view_of(proto, tmp_path)
    assert view.defects == []
    operators = {node.op for node in view.nodes}
    assert operators.isdisjoint(case.gone)
    assert operators.issuperset(case.kept)
    assert view.dynamic is case.dynamic
    wanted = run(proto, case.feeds)[0]
    got = run(twin(view), case.feeds)[0]
    assert got.shape == wanted.shape
    if case.step:
        (output,) = view.quantizers[view.outputs[0][1]][-1:]
        got = np.clip(got, *output.bounds())
    # Half a step of the output's rounding.
    np.testing.assert_allclose(
        got, wanted, rtol=2e-5, atol=2e-5 * np.abs(wanted).max() + 0.51 * case.step + case.slack
    )
    assert np.ptp(wanted) > 4 * case.step  # outputs that hardly vary would agree with anything
