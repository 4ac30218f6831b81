"""Honest recipes: one function (or one row of settings) for each way a team may really quantize.

A recipe takes a float model and a scratch folder and gives the candidate. ``RECIPES`` says what each needs
and how it must be verified (scheme, interface differences).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from tests.corpus import graph, handmade, rewrites
from tests.corpus.models import FloatModel


@dataclass(frozen=True)
class Recipe:
    """One honest way of quantizing.

    Args:
        id: Name used in case ids.
        make: From the float model and a scratch folder to the candidate.
        scheme: What qgate should find.
        form: qdq, qop, dynamic, nbits, castmul, half: how the weights are stored.
        needs: Modules beyond the test dependencies.
        half_io: Whether inputs and outputs become float16 too.
        debatable: Why a careful team might still want a warning here.
    """

    id: str
    make: Callable[[FloatModel, Path], onnx.ModelProto]
    scheme: str = "int8"
    form: str = "qdq"
    needs: tuple[str, ...] = ()
    half_io: bool = False
    debatable: str = ""

    @property
    def available(self) -> bool:
        return all(importlib.util.find_spec(module) is not None for module in self.needs)


RECIPES: dict[str, Recipe] = {}


def recipe(**settings: object) -> Callable:
    """Registers the decorated function under its own name."""

    def keep(make: Callable) -> Callable:
        RECIPES[make.__name__] = Recipe(make.__name__, make, **settings)
        return make

    return keep


class _Reader:
    """onnxruntime's calibration reader over batches in memory."""

    def __init__(self, feeds: list[dict[str, np.ndarray]]) -> None:
        self.feeds = feeds
        self.left = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)

    def rewind(self) -> None:
        self.left = iter(self.feeds)


def static(
    model: FloatModel, work: Path, *, prepare: bool = False, feeds: list | None = None, **options
) -> onnx.ModelProto:
    """onnxruntime's quantize_static with our defaults: s8s8, per channel, QDQ."""
    from onnxruntime import quantization as q

    logging.getLogger().setLevel(logging.ERROR)
    source, target = work / "float.onnx", work / "quantized.onnx"
    onnx.save(model.proto, source)
    if prepare:
        from onnxruntime.quantization.shape_inference import quant_pre_process

        quant_pre_process(str(source), str(source), skip_symbolic_shape=True)
    settings = {
        "quant_format": q.QuantFormat.QDQ,
        "activation_type": q.QuantType.QInt8,
        "weight_type": q.QuantType.QInt8,
        "per_channel": True,
        **options,
    }
    random.seed(0)
    np.random.seed(0)
    with contextlib.redirect_stdout(io.StringIO()):
        q.quantize_static(str(source), str(target), _Reader(feeds or model.feeds()), **settings)
    return onnx.load(target)


def _types(activation: str, weight: str) -> dict[str, object]:
    from onnxruntime.quantization import QuantType

    return {"activation_type": QuantType[activation], "weight_type": QuantType[weight]}


def _static_row(
    name: str, *, kind: str = "int8", form: str = "qdq", debatable: str = "", **row: object
) -> None:
    """Registers one row of quantize_static settings; enum values are given by name."""

    def make(model: FloatModel, work: Path) -> onnx.ModelProto:
        from onnxruntime import quantization as q

        options = dict(row)
        if "types" in options:
            options.update(_types(*options.pop("types")))
        if "method" in options:
            options["calibrate_method"] = q.CalibrationMethod[options.pop("method")]
        if "format" in options:
            options["quant_format"] = q.QuantFormat[options.pop("format")]
        return static(model, work, **options)

    RECIPES[name] = Recipe(name, make, kind, form, debatable=debatable)


_static_row("qdq_s8s8_pc")
_static_row("qdq_s8s8_pt", per_channel=False)
_static_row("qdq_u8s8_pc", types=("QUInt8", "QInt8"))
_static_row("qdq_u8s8_pt", types=("QUInt8", "QInt8"), per_channel=False)
_static_row("qdq_u8u8_pt", types=("QUInt8", "QUInt8"), per_channel=False)
_static_row("qdq_u8u8_pc", types=("QUInt8", "QUInt8"))
_static_row("qdq_symmetric", extra_options={"ActivationSymmetric": True, "QuantizeBias": False})
_static_row("qdq_weight_asymmetric", extra_options={"WeightSymmetric": False}, per_channel=False)
_static_row("qdq_reduce_range", types=("QUInt8", "QInt8"), reduce_range=True)
_static_row("qdq_entropy", method="Entropy", types=("QUInt8", "QInt8"))
_static_row("qdq_percentile", method="Percentile", types=("QUInt8", "QInt8"))
_static_row("qdq_moving_average", extra_options={"CalibMovingAverage": True})
_static_row("qdq_prepared", prepare=True)
_static_row("qdq_subset", op_types_to_quantize=["Conv", "MatMul", "Gemm"])
_static_row("qdq_no_bias", extra_options={"QuantizeBias": False})
_static_row("qdq_dedicated", extra_options={"DedicatedQDQPair": True})
_static_row("qdq_a16w8", types=("QUInt16", "QInt8"), extra_options={"UseQDQContribOps": True})
_static_row("qdq_a16w16", types=("QInt16", "QInt16"), extra_options={"UseQDQContribOps": True})
_static_row("qdq_a8w4", types=("QUInt8", "QInt4"), kind="int4", extra_options={"UseQDQContribOps": True})
_static_row(
    "qdq_weight_pairs",
    extra_options={"AddQDQPairToWeight": True},
    debatable="weights stay float behind QuantizeLinear, as some toolkits write for TensorRT",
)
_static_row("qop_s8s8_pc", format="QOperator", form="qop")
_static_row("qop_u8s8_pt", format="QOperator", form="qop", types=("QUInt8", "QInt8"), per_channel=False)
_static_row("qop_u8u8_pt", format="QOperator", form="qop", types=("QUInt8", "QUInt8"), per_channel=False)


def _dynamic(model: FloatModel, work: Path, **options: object) -> onnx.ModelProto:
    from onnxruntime import quantization as q

    logging.getLogger().setLevel(logging.ERROR)
    source, target = work / "float.onnx", work / "dynamic.onnx"
    onnx.save(model.proto, source)
    q.quantize_dynamic(str(source), str(target), **options)
    return onnx.load(target)


@recipe(form="dynamic")
def dynamic_s8_pc(model, work):
    from onnxruntime.quantization import QuantType

    return _dynamic(model, work, per_channel=True, weight_type=QuantType.QInt8)


@recipe(form="dynamic")
def dynamic_s8_pt(model, work):
    from onnxruntime.quantization import QuantType

    return _dynamic(model, work, weight_type=QuantType.QInt8)


@recipe(form="dynamic")
def dynamic_u8_pt(model, work):
    from onnxruntime.quantization import QuantType

    return _dynamic(model, work, weight_type=QuantType.QUInt8)


@recipe(form="dynamic")
def dynamic_reduce_range(model, work):
    from onnxruntime.quantization import QuantType

    return _dynamic(model, work, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True)


@recipe(scheme="int4", form="nbits")
def nbits_block32_symmetric(model, work):
    return handmade.matmul_nbits(rewrites.gemm_as_matmul(model.proto), block=32)


@recipe(scheme="int4", form="nbits")
def nbits_block16_asymmetric(model, work):
    return handmade.matmul_nbits(rewrites.gemm_as_matmul(model.proto), block=16, symmetric=False)


def _ort_nbits(model: FloatModel, **options: object) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    source = rewrites.gemm_as_matmul(model.proto)
    if "quant_format" in options:
        source = graph.require_opset(source, 21)
    quantizer = MatMulNBitsQuantizer(source, **options)
    quantizer.process()
    return quantizer.model.model


@recipe(scheme="int4", form="nbits", needs=("onnx_ir",))
def ort_nbits_block32(model, work):
    return _ort_nbits(model, block_size=32, is_symmetric=True)


@recipe(scheme="int4", form="nbits", needs=("onnx_ir",))
def ort_nbits_block128_asymmetric(model, work):
    return _ort_nbits(model, block_size=128, is_symmetric=False)


@recipe(scheme="int4", form="qdq", needs=("onnx_ir",))
def ort_nbits_qdq(model, work):
    from onnxruntime.quantization import QuantFormat

    return _ort_nbits(model, block_size=32, is_symmetric=True, quant_format=QuantFormat.QDQ)


@recipe(scheme="int4", form="nbits", needs=("onnx_ir",))
def ort_nbits_hqq(model, work):
    from onnxruntime.quantization import matmul_nbits_quantizer as nbits

    config = nbits.HQQWeightOnlyQuantConfig(block_size=32, bits=4)
    quantizer = nbits.MatMulNBitsQuantizer(rewrites.gemm_as_matmul(model.proto), algo_config=config)
    quantizer.process()
    return quantizer.model.model


def _half(model: FloatModel, **options: object) -> onnx.ModelProto:
    import warnings

    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert_float_to_float16(graph.clone(model.proto), **options)


@recipe(scheme="fp16", form="half")
def fp16_keep_io(model, work):
    return _half(model, keep_io_types=True)


@recipe(scheme="fp16", form="half", half_io=True)
def fp16_half_io(model, work):
    return _half(model, keep_io_types=False)


@recipe(scheme="fp16", form="half")
def fp16_mixed(model, work):
    last = next(
        node.op_type for node in reversed(model.proto.graph.node) if node.op_type in ("Gemm", "MatMul")
    )
    return _half(model, keep_io_types=True, op_block_list=[last, "Softmax"])


@recipe(scheme="fp16", form="half", debatable="bfloat16 is no scheme of its own; weights behind a Cast")
def bf16_weights(model, work):
    return handmade.bfloat16_weights(model.proto)


@recipe(scheme="fp8", form="qdq")
def fp8_weights(model, work):
    return handmade.float8_weights(model.proto)


@recipe(form="qdq")
def weight_only_dq(model, work):
    return handmade.weight_only(model.proto)


@recipe(form="qdq")
def weight_only_dq_pt(model, work):
    return handmade.weight_only(model.proto, per_channel=False)


@recipe(form="castmul")
def weight_only_cast_mul(model, work):
    return handmade.weight_only(model.proto, form="castmul")


@recipe(scheme="int4", form="qdq")
def weight_only_int4(model, work):
    return handmade.weight_only(model.proto, kind="int4")


@recipe(form="qdq")
def weight_only_blocked8(model, work):
    return handmade.blocked(model.proto)


@recipe(scheme="int4", form="qdq")
def weight_only_blocked4(model, work):
    return handmade.blocked(model.proto, kind="int4")


@recipe(form="qdq")
def adaround_dq(model, work):
    return handmade.weight_only(model.proto, rounding=handmade.adaround)


@recipe(scheme="int4", form="qdq")
def adaround_int4(model, work):
    return handmade.weight_only(model.proto, kind="int4", rounding=handmade.adaround)


@recipe(form="qdq")
def gptq_int8(model, work):
    return handmade.gptq_weights(model, "int8")


@recipe(scheme="int4", form="qdq")
def gptq_int4(model, work):
    return handmade.gptq_weights(model, "int4")


@recipe(form="qdq")
def equalised_static(model, work):
    changed = FloatModel(model.name, rewrites.equalised(model.proto), model.inputs, model.calibration)
    return static(changed, work)


@recipe(form="dynamic")
def smoothquant_dynamic(model, work):
    from onnxruntime.quantization import QuantType

    changed = FloatModel(model.name, rewrites.smoothed(model), model.inputs, model.calibration)
    return _dynamic(changed, work, weight_type=QuantType.QInt8, per_channel=True)


@recipe(form="qdq")
def smoothquant_static(model, work):
    changed = FloatModel(model.name, rewrites.smoothed(model), model.inputs, model.calibration)
    return static(changed, work, op_types_to_quantize=["MatMul", "Gemm"])


@recipe(scheme="int4", form="qdq")
def awq_int4(model, work):
    return handmade.weight_only(rewrites.activation_aware(model), kind="int4")


@recipe(form="qdq")
def awq_int8(model, work):
    return handmade.weight_only(rewrites.activation_aware(model, 127), kind="int8")


@recipe(form="qdq")
def bias_corrected(model, work):
    return rewrites.bias_corrected(model, static(model, work, per_channel=False))


@recipe(form="qdq")
def adaround_static(model, work):
    """A static QDQ file whose weights were re-rounded to lower each channel's error."""
    out = static(model, work)
    for weight in graph.weights(out):
        source = weight.tensor.removesuffix("_quantized")
        known = graph.initializers(model.proto)
        stored = graph.initializers(out)[weight.tensor]
        if source in known and stored.data_type == TensorProto.INT8 and weight.axis is not None:
            scale = graph.array(out, weight.scale)
            q = handmade.adaround(graph.array(model.proto, source), scale, weight.axis)
            graph.put(out, weight.tensor, q.astype(np.int8))
    return out


@recipe(form="qdq")
def mse_clipped_scales(model, work):
    """Weight-only with scales that clip the tails to lower the squared error."""

    out = graph.require_opset(graph.clone(model.proto), 13)
    for name, node in graph.float_weights(out, minimum=16):
        if name not in graph.initializers(out):
            continue
        value, axis = graph.array(out, name), handmade.out_axis(node)
        scale = (handmade.symmetric_scale(value, axis, 127) * np.float32(0.92)).astype(np.float32)
        handmade.replace_weight(out, name, handmade.nearest(value, scale, axis), scale, axis, "int8", "qdq")
    return out


@recipe(form="qdq", needs=("torchao", "onnxscript"))
def pt2e_qdq(model, work):
    from tests.corpus import exported

    return exported.pt2e(model, work)


@recipe(scheme="none", form="float")
def float_prepared(model, work):
    """No quantization: BatchNorm folded and constants propagated by onnxruntime's own preparation."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    source, target = work / "float.onnx", work / "prepared.onnx"
    onnx.save(model.proto, source)
    quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
    return onnx.load(target)


@recipe(scheme="none", form="float")
def float_other_words(model, work):
    """No quantization: Gemm written as MatMul and Add, newer opset."""
    return graph.require_opset(rewrites.gemm_as_matmul(model.proto), 19)


@recipe(scheme="none", form="float")
def float_equalised(model, work):
    """No quantization: layers equalised; other weights, the same function."""
    return rewrites.equalised(model.proto)
