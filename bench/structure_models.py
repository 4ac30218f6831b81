# ruff: noqa: E501 - one graph a line
"""Small models for the edits of ``integrity_structure``: one operator each behind a quantized layer.

Each is a float reference and a candidate whose layer is stored in int8 and whose activation goes through
QuantizeLinear and DequantizeLinear, as every quantizer leaves the operators that it does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from structure_bodies import BODIES

Arrays = dict[str, np.ndarray]
ROWS, IMAGE, TOKENS = (2, 8), (1, 4, 6, 6), (2, 5, 8)


@dataclass(frozen=True)
class Pair:
    """A reference and its honest candidate.

    Args:
        name: The operator or the example.
        reference: The float model.
        candidate: The quantized model.
        feeds: Inputs that show what an edit changes.
    """

    name: str
    reference: onnx.ModelProto
    candidate: onnx.ModelProto
    feeds: Arrays


@dataclass(frozen=True)
class _Spec:
    shape: tuple[int, ...]
    body: str
    held: dict[str, Any] = field(default_factory=dict)
    opset: int = 20
    ml: bool = False


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _floats(*shape: int, seed: int = 1) -> np.ndarray:
    return _rng(seed).standard_normal(shape).astype(np.float32)


def _ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def _f(value: float) -> np.ndarray:
    return np.float32(value)


_UNARY = {
    "leaky_relu": "LeakyRelu <alpha = 0.1>", "elu": "Elu <alpha = 0.7>", "selu": "Selu", "celu": "Celu <alpha = 0.5>",
    "hard_sigmoid": "HardSigmoid <alpha = 0.3, beta = 0.4>", "thresholded_relu": "ThresholdedRelu <alpha = 0.2>",
    "softplus": "Softplus", "softsign": "Softsign", "mish": "Mish", "gelu": "Gelu", "gelu_tanh": "Gelu <approximate = \"tanh\">",
    "hard_swish": "HardSwish", "shrink": "Shrink <bias = 0.1, lambd = 0.3>", "softmax": "Softmax <axis = 0>", "softmax_default": "Softmax",
    "log_softmax": "LogSoftmax <axis = 0>", "hardmax": "Hardmax <axis = 0>", "lp_norm": "LpNormalization <axis = 0, p = 1>",
    "round": "Round", "floor": "Floor", "sign": "Sign", "abs": "Abs", "erf": "Erf", "tanh": "Tanh", "sigmoid": "Sigmoid", "relu": "Relu",
    "transpose": "Transpose <perm = [1, 0]>", "flatten": "Flatten <axis = 1>", "mvn": "MeanVarianceNormalization <axes = [0, 1]>",
    "reduce_mean": "ReduceMean <keepdims = 0>",
}  # fmt: skip

_SPECS: dict[str, _Spec] = {
    **{name: _Spec(ROWS, f"y = {text} (h)") for name, text in _UNARY.items()},
    "arg_max": _Spec(ROWS, "k = ArgMax <axis = 1, keepdims = 0> (h) y = Cast <to = 1> (k)"),
    "arg_min": _Spec(ROWS, "k = ArgMin <axis = 0, keepdims = 1> (h) y = Cast <to = 1> (k)"),
    "prelu": _Spec(ROWS, "y = PRelu (h, s)", {"s": _floats(8)}),
    "clip": _Spec(ROWS, "y = Clip (h, lo, hi)", {"lo": _f(-0.5), "hi": _f(0.7)}),
    "clip_old": _Spec(ROWS, "y = Clip <min = -0.5, max = 0.7> (h)", opset=10),
    "reduce_sum": _Spec(ROWS, "y = ReduceSum <keepdims = 0> (h, a)", {"a": _ints(1)}),
    "reduce_max": _Spec(ROWS, "y = ReduceMax <keepdims = 1> (h, a)", {"a": _ints(0)}),
    "sub": _Spec(ROWS, "k = Tanh (h) y = Sub (h, k)"),
    "div": _Spec(ROWS, "k = Exp (h) l = Add (k, c) y = Div (h, l)", {"c": _f(1.5)}),
    "pow": _Spec(ROWS, "k = Abs (h) l = Add (k, c) y = Pow (l, e)", {"c": _f(1.0), "e": _f(1.7)}),
    "mod": _Spec(ROWS, "y = Mod <fmod = 1> (h, c)", {"c": _f(0.7)}),
    "cast_int": _Spec(ROWS, "k = Cast <to = 7> (h) y = Cast <to = 1> (k)"),
    "where": _Spec(ROWS, "k = Greater (h, t) y = Where (k, h, z)", {"t": _f(0.2), "z": _floats(1, 8)}),
    "less": _Spec(ROWS, "k = LessOrEqual (h, t) l = Not (k) y = Cast <to = 1> (l)", {"t": _f(0.2)}),
    "logic": _Spec(ROWS, "k = Less (h, t) l = Greater (h, u) m = Or (k, l) y = Cast <to = 1> (m)", {"t": _f(-0.2), "u": _f(0.4)}),
    "is_inf": _Spec(ROWS, "i = Div (h, z) k = IsInf <detect_negative = 0> (i) y = Cast <to = 1> (k)", {"z": _f(0.0)}),
    "slice": _Spec(ROWS, "y = Slice (h, b, e, a, s)", {"b": _ints(1), "e": _ints(7), "a": _ints(1), "s": _ints(2)}),
    "gather": _Spec(ROWS, "y = Gather <axis = 1> (h, i)", {"i": _ints(3, 1, 0)}),
    "gather_elements": _Spec(ROWS, "y = GatherElements <axis = 1> (h, i)", {"i": _ints(3, 1, 0, 2).reshape(2, 2)}),
    "gather_nd": _Spec(ROWS, "y = GatherND (h, i)", {"i": _ints(0, 3, 1, 2).reshape(2, 2)}),
    "scatter_nd": _Spec(ROWS, "y = ScatterND (h, i, u)", {"i": _ints(0, 3, 1, 2).reshape(2, 2), "u": np.float32([9, 8])}),
    "scatter_elements": _Spec(ROWS, "y = ScatterElements <axis = 1> (h, i, u)", {"i": _ints(0, 3, 1, 2).reshape(2, 2), "u": _floats(2, 2)}),
    "top_k": _Spec(ROWS, "v, i = TopK <axis = 1, largest = 1, sorted = 1> (h, k) w = Cast <to = 1> (i) y = Add (v, w)", {"k": _ints(3)}),
    "cum_sum": _Spec(ROWS, "y = CumSum <exclusive = 0, reverse = 0> (h, a)", {"a": np.int64(1)}),
    "split": _Spec(ROWS, "p, q = Split <axis = 1> (h, n) y = Concat <axis = 0> (p, q)", {"n": _ints(4, 4)}),
    "tile": _Spec(ROWS, "y = Tile (h, n)", {"n": _ints(1, 2)}),
    "expand": _Spec(ROWS, "k = Unsqueeze (h, a) y = Expand (k, n)", {"a": _ints(0), "n": _ints(3, 2, 8)}),
    "pad": _Spec(ROWS, "y = Pad <mode = \"constant\"> (h, p, v)", {"p": _ints(0, 1, 0, 2), "v": _f(0.3)}),
    "pad_reflect": _Spec(ROWS, "y = Pad <mode = \"reflect\"> (h, p)", {"p": _ints(0, 1, 0, 2)}),
    "one_hot": _Spec(ROWS, "i = ArgMax <axis = 1, keepdims = 0> (h) y = OneHot <axis = -1> (i, d, v)", {"d": np.int64(8), "v": np.float32([0, 2])}),
    "trilu": _Spec((4, 4), "y = Trilu <upper = 1> (h, k)", {"k": np.int64(1)}),
    "einsum": _Spec((4, 4), "k = Tanh (h) y = Einsum <equation = \"ij,jk->ik\"> (h, k)"),
    "matmul_two": _Spec((4, 4), "k = Tanh (h) y = MatMul (h, k)"),
    "reverse_sequence": _Spec(ROWS, "y = ReverseSequence <batch_axis = 0, time_axis = 1> (h, n)", {"n": _ints(4, 6)}),
    "dropout": _Spec(ROWS, "y = Dropout (h, r, t)", {"r": _f(0.5), "t": np.asarray(False)}),
    "random": _Spec(ROWS, "k = RandomNormalLike <mean = 0.5, scale = 0.1, seed = 3.0> (h) y = Add (h, k)"),
    "random_uniform": _Spec(ROWS, "k = RandomUniform <low = 0.0, high = 1.0, seed = 3.0, shape = [2, 8]> () y = Add (h, k)"),
    "eye_like": _Spec((4, 4), "k = EyeLike <k = 1> (h) y = Add (h, k)"),
    "compress": _Spec(ROWS, "y = Compress <axis = 1> (h, c)", {"c": np.asarray([1, 0, 1, 1, 0, 0, 1, 0], bool)}),
    "sequence": _Spec(ROWS, "s = SplitToSequence <axis = 1, keepdims = 1> (h, n) a = SequenceAt (s, p) b = SequenceAt (s, q) y = Sub (a, b)",
                      {"n": np.int64(2), "p": np.int64(1), "q": np.int64(3)}),
    "sequence_concat": _Spec(ROWS, "k = Tanh (h) s = SequenceConstruct (h, k) y = ConcatFromSequence <axis = 1, new_axis = 0> (s)"),
    "optional": _Spec(ROWS, "o = Optional (h) y = OptionalGetElement (o)"),
    "layer_norm": _Spec(TOKENS, "y = LayerNormalization <axis = -1, epsilon = 0.01> (h, s, b)", {"s": _floats(8), "b": _floats(8, seed=2)}),
    "rms_norm": _Spec(TOKENS, "y = RMSNormalization <axis = -1, epsilon = 0.01> (h, s)", {"s": _floats(8)}, 23),
    "attention_mask": _Spec(TOKENS, "t = Transpose <perm = [0, 2, 1]> (h) a = MatMul (h, t) m = Where (keep, a, low) p = Softmax <axis = -1> (m) y = MatMul (p, h)",
                            {"keep": np.tril(np.ones((5, 5), bool)), "low": _f(-1e4)}),
    "attention_added_mask": _Spec(TOKENS, "t = Transpose <perm = [0, 2, 1]> (h) a = MatMul (h, t) d = Div (a, r) m = Add (d, mask) p = Softmax <axis = -1> (m) y = MatMul (p, h)",
                                  {"mask": np.where(np.tril(np.ones((5, 5))), 0, -1e4).astype(np.float32), "r": _f(2.83)}),
    "lstm": _Spec(TOKENS, "y, i, j = LSTM <hidden_size = 3, direction = \"bidirectional\"> (h, w, r, b)",
                  {"w": _floats(2, 12, 8), "r": _floats(2, 12, 3, seed=2), "b": _floats(2, 24, seed=3)}),
    "lstm_full": _Spec(TOKENS, "y, i, j = LSTM <hidden_size = 3, clip = 0.8, activations = [\"Sigmoid\", \"Tanh\", \"Tanh\"]> (h, w, r, b, n, a, c, p)",
                       {"w": _floats(1, 12, 8), "r": _floats(1, 12, 3, seed=2), "b": _floats(1, 24, seed=3), "n": np.int32([2] * 5),
                        "a": _floats(1, 5, 3), "c": _floats(1, 5, 3, seed=4), "p": _floats(1, 9, seed=5)}),
    "gru": _Spec(TOKENS, "y, i = GRU <hidden_size = 3, linear_before_reset = 1> (h, w, r, b)",
                 {"w": _floats(1, 9, 8), "r": _floats(1, 9, 3, seed=2), "b": _floats(1, 18, seed=3)}),
    "rnn": _Spec(TOKENS, "y, i = RNN <hidden_size = 3, direction = \"reverse\"> (h, w, r, b)",
                 {"w": _floats(1, 3, 8), "r": _floats(1, 3, 3, seed=2), "b": _floats(1, 6, seed=3)}),
    "batch_norm": _Spec(IMAGE, "k = Relu (h) y = BatchNormalization <epsilon = 0.01> (k, s, b, m, v)",
                        {"s": _floats(4), "b": _floats(4, seed=2), "m": _floats(4, seed=3), "v": np.float32([0.5, 1, 2, 0.1])}),
    "instance_norm": _Spec(IMAGE, "y = InstanceNormalization <epsilon = 0.01> (h, s, b)", {"s": _floats(4), "b": _floats(4, seed=2)}),
    "group_norm": _Spec(IMAGE, "y = GroupNormalization <epsilon = 0.01, num_groups = 2> (h, s, b)", {"s": _floats(4), "b": _floats(4, seed=2)}, 21),
    "lrn": _Spec(IMAGE, "y = LRN <alpha = 0.5, beta = 0.7, bias = 1.2, size = 3> (h)"),
    "max_pool": _Spec(IMAGE, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 0, 0], ceil_mode = 0> (h)"),
    "average_pool": _Spec(IMAGE, "y = AveragePool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 0> (h)"),
    "lp_pool": _Spec(IMAGE, "y = LpPool <kernel_shape = [2, 2], p = 2> (h)"),
    "global_pool": _Spec(IMAGE, "y = GlobalAveragePool (h)"),
    "conv": _Spec(IMAGE, "y = Conv <strides = [2, 2], pads = [1, 1, 1, 1], group = 2> (h, w, b)", {"w": _floats(4, 2, 3, 3), "b": _floats(4)}),
    "conv_transpose": _Spec(IMAGE, "y = ConvTranspose <strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]> (h, w)", {"w": _floats(4, 2, 3, 3)}),
    "resize": _Spec(IMAGE, "y = Resize <mode = \"linear\", coordinate_transformation_mode = \"half_pixel\"> (h, , f)", {"f": np.float32([1, 1, 1.5, 2])}),
    "resize_nearest": _Spec(IMAGE, "y = Resize <mode = \"nearest\", nearest_mode = \"floor\", coordinate_transformation_mode = \"asymmetric\"> (h, , , z)", {"z": _ints(1, 4, 9, 12)}),
    "resize_cubic": _Spec(IMAGE, "y = Resize <mode = \"cubic\", cubic_coeff_a = -0.5, exclude_outside = 1> (h, , f)", {"f": np.float32([1, 1, 2, 2])}),
    "depth_to_space": _Spec(IMAGE, "y = DepthToSpace <blocksize = 2, mode = \"DCR\"> (h)"),
    "space_to_depth": _Spec(IMAGE, "y = SpaceToDepth <blocksize = 2> (h)"),
    "grid_sample": _Spec(IMAGE, "y = GridSample <align_corners = 0, mode = \"linear\", padding_mode = \"zeros\"> (h, g)", {"g": (_rng().random((1, 3, 3, 2)) * 2.4 - 1.2).astype(np.float32)}),
    "roi_align": _Spec(IMAGE, "y = RoiAlign <output_height = 2, output_width = 2, spatial_scale = 0.5, sampling_ratio = 2, mode = \"avg\"> (h, r, i)", {"r": np.float32([[1, 1, 9, 9]]), "i": _ints(0)}),
    "nms": _Spec((1, 6, 4), "b = Abs (h) c = Add (b, o) y0 = NonMaxSuppression <center_point_box = 0> (c, s, n, i, t) y = Cast <to = 1> (y0)",
                 {"o": np.float32([0, 0, 1, 1]), "s": _rng(4).random((1, 1, 6)).astype(np.float32), "n": _ints(4), "i": np.float32([0.3]), "t": np.float32([0.2])}),
    "loop": _Spec(ROWS, "", {}),
    "branch": _Spec(ROWS, "", {}),
    "scan": _Spec(ROWS, "", {}),
    "scaler": _Spec(ROWS, "y = ai.onnx.ml.Scaler <offset = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], scale = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]> (h)", ml=True),
    "normalizer": _Spec(ROWS, "y = ai.onnx.ml.Normalizer <norm = \"L1\"> (h)", ml=True),
    "binarizer": _Spec(ROWS, "y = ai.onnx.ml.Binarizer <threshold = 0.2> (h)", ml=True),
    "linear_regressor": _Spec(ROWS, "y = ai.onnx.ml.LinearRegressor <coefficients = [0.5, -0.5, 0.25, 1.0, 0.1, 0.2, 0.3, 0.4], intercepts = [0.3], post_transform = \"NONE\"> (h)", ml=True),
    "tree": _Spec(ROWS, "y = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1, nodes_falsenodeids = [2, 0, 0], nodes_featureids = [1, 0, 0], nodes_modes = [\"BRANCH_LEQ\", \"LEAF\", \"LEAF\"], nodes_nodeids = [0, 1, 2], nodes_treeids = [0, 0, 0], nodes_truenodeids = [1, 0, 0], nodes_values = [0.1, 0.0, 0.0], target_ids = [0, 0], target_nodeids = [1, 2], target_treeids = [0, 0], target_weights = [1.5, -0.5]> (h)", ml=True),
}  # fmt: skip


def handmade() -> Iterator[Pair]:
    """Every small model with its candidate."""
    for name, spec in _SPECS.items():
        layer = "Conv <pads = [1, 1, 1, 1]>" if len(spec.shape) == 4 else "MatMul"
        shape = (4, 4, 3, 3) if len(spec.shape) == 4 else (spec.shape[-1], spec.shape[-1])
        weight = (_floats(*shape, seed=7) * 0.5).astype(np.float32)
        size = ",".join(map(str, spec.shape))
        domains = f'"" : {spec.opset}' + (', "ai.onnx.ml" : 3' if spec.ml else "")
        text = f"<ir_version: 8, opset_import: [{domains}]> {name} (float[{size}] x) => (float y) {{h = {layer} (x, weight) {spec.body or 'y = Identity (h)'}}}"
        proto = onnx.parser.parse_model(text)
        proto.graph.output[0].type.tensor_type.ClearField("shape")
        held = {**spec.held, "weight": weight}
        proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), k) for k, v in held.items())
        if not spec.body:
            BODIES[name](proto)
        for number, node in enumerate(proto.graph.node):
            node.name = f"{node.op_type}_{number}"
        feeds = {"x": _floats(*spec.shape, seed=11)}
        yield Pair(name, proto, quantized(proto), feeds)


def quantized(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The candidate: constant weights of layers in int8, and the first layer's output quantized."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    _quantize_weights(made.graph)
    layer = next(n for n in made.graph.node if n.op_type in ("Conv", "MatMul"))
    inner = layer.output[0]
    _rename_reads(made.graph, inner, f"{inner}_dq")
    made.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.06), "h_scale"), numpy_helper.from_array(np.int8(0), "h_zero")]
    )
    at = list(made.graph.node).index(layer) + 1
    pair = [inner + "_q", inner + "_dq"]
    made.graph.node.insert(at, helper.make_node("DequantizeLinear", [pair[0], "h_scale", "h_zero"], [pair[1]], "h_dequantize"))  # fmt: skip
    made.graph.node.insert(at, helper.make_node("QuantizeLinear", [inner, "h_scale", "h_zero"], [pair[0]], "h_quantize"))  # fmt: skip
    _lift(made)
    return made


def _lift(proto: onnx.ModelProto) -> None:
    """QuantizeLinear is of opset 10."""
    opset = next(o for o in proto.opset_import if not o.domain)
    opset.version = max(opset.version, 10)


def _quantize_weights(graph: onnx.GraphProto) -> None:
    held = {t.name: t for t in graph.initializer}
    for node in list(graph.node):
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _quantize_weights(attribute.g)
        if node.op_type not in ("Conv", "ConvTranspose", "MatMul") or node.input[1] not in held:
            continue
        name = node.input[1]
        value = numpy_helper.to_array(held[name])
        scale = np.float32(np.abs(value).max() / 127)
        codes = np.clip(np.rint(value / scale), -127, 127).astype(np.int8)
        graph.initializer.remove(held.pop(name))
        graph.initializer.extend(
            [numpy_helper.from_array(codes, name + "_q"), numpy_helper.from_array(scale, name + "_scale")]
        )
        graph.node.insert(
            list(graph.node).index(node),
            helper.make_node(
                "DequantizeLinear", [name + "_q", name + "_scale"], [name], name + "_dequantize"
            ),
        )


def _rename_reads(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == old:
                node.input[position] = new
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_reads(attribute.g, old, new)
