"""Candidates that real tools and reference algorithms made of the example models, for damage to be planted in."""

from __future__ import annotations

import dataclasses
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from qgate.formats.model import Constant, StaticModel
from qgate.formats.read import read_model
from qgate.quant.build import float_view
from tests.corpus import graph, handmade, models
from tests.corpus.honest import RECIPES
from tests.quant import rounders

ROOT = Path(__file__).resolve().parents[1]
FLIPPED = {
    "digits": (
        "qdq_s8s8_pt", "qdq_s8s8_pc", "qdq_u8u8_pt", "qdq_u8u8_pc", "qdq_a16w16", "qdq_a8w4", "qop_s8s8_pc",
        "qop_u8u8_pt", "dynamic_s8_pc", "dynamic_u8_pt", "weight_only_int4", "weight_only_blocked4",
        "weight_only_blocked8", "weight_only_cast_mul", "nbits_block32_symmetric", "nbits_block16_asymmetric",
        "fp16_keep_io", "fp16_half_io",
    ),
    "mtcnn_rnet": ("qdq_u8u8_pt", "qdq_s8s8_pc", "weight_only_int4", "qop_u8s8_pt", "fp16_keep_io"),
    "diabetes": ("qdq_s8s8_pc", "dynamic_u8_pt", "nbits_block32_symmetric", "fp16_keep_io"),
}  # fmt: skip
"""Recipes by model, for damage."""

LEGITIMATE = (
    "adaround_dq", "adaround_int4", "adaround_static", "gptq_int8", "gptq_int4", "equalised_static",
    "awq_int4", "awq_int8", "smoothquant_static", "smoothquant_dynamic", "bias_corrected", "mse_clipped_scales",
    "ort_nbits_hqq", "adaround_descent_int8", "adaround_descent_int4",
)  # fmt: skip
REAL = ("digits", "diabetes", "mtcnn_rnet", "ppocr_cls", "crepe_tiny")
_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "int8": 8, "uint8": 8, "int16": 16, "uint16": 16,
         "int32": 32, "float16": 16, "bfloat16": 16, "float": 32}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A tensor that damage can be planted in.

    Args:
        tensor: Its name in the candidate.
        dtype: What its codes are, whatever they are packed into.
        packed: Elements of a block of a MatMulNBits weight; 0 for tensors that are stored as they are.
    """

    tensor: str
    dtype: str
    packed: int = 0

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return _BITS[self.dtype]


@dataclass(frozen=True)
class Subject:
    """A pair with the tensors in which damage must be found."""

    name: str
    reference: StaticModel
    candidate: StaticModel
    weights: tuple[Target, ...]
    biases: tuple[Target, ...]


@cache
def shelf() -> models.Shelf:
    """The examples."""
    return models.Shelf(ROOT / "examples")


@cache
def float_model(name: str) -> models.FloatModel:
    """A reference with its data."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return models.make(name, shelf())


def subject(model: str, recipe: str, folder: Path) -> Subject:
    """A candidate, written and read back as the gate reads it."""
    reference, candidate = folder / f"{model}.onnx", folder / f"{model}-{recipe}.onnx"
    made = _made(model, recipe, folder)
    onnx.save(float_model(model).proto, reference)
    onnx.save(made, candidate)
    read = read_model(candidate)
    named = {t.tensor: t for t in _targets(made, read)}
    # Bias correction may move an only output by anything that rounding may shift it.
    named = {name: t for name, t in named.items() if read.graph.constants[name].size > 1}
    biases = {tensor for tensor, scale, _ in graph.biases(made) if scale}
    return Subject(
        f"{model}/{recipe}",
        read_model(reference),
        read,
        tuple(t for t in named.values() if t.tensor not in biases),
        tuple(t for t in named.values() if t.tensor in biases),
    )


def _targets(made: onnx.ModelProto, read: StaticModel) -> Iterator[Target]:
    view = float_view(read)
    scales = {v.quantized.scale_name for v in view.constants.values() if v.quantized is not None}
    scales |= {q.scale_name for held in view.quantizers.values() for q in held}
    for weight in graph.weights(made, minimum=1):
        constant = read.graph.constants[weight.tensor]
        if weight.form == "nbits":
            node = next(n for n in made.graph.node if weight.tensor in n.input)
            yield Target(weight.tensor, "uint4", int(graph.attribute(node, "block_size", 32)))
        elif constant.dtype in _BITS:
            yield Target(weight.tensor, constant.dtype)
    for tensor, scale, _ in graph.biases(made):
        if scale:
            yield Target(tensor, read.graph.constants[tensor].dtype)
    for constant in read.graph.constants.values():
        # A float that stays one must be the reference's to the bit; scales are no values of the reference.
        if (
            constant.dtype in ("float", "float16", "bfloat16")
            and constant.size >= 8
            and constant.name not in scales
        ):
            yield Target(constant.name, constant.dtype)


def with_values(model: StaticModel, changed: dict[str, np.ndarray]) -> StaticModel:
    """The model with other values in some constants, as if the file held them."""
    constants = dict(model.graph.constants)
    for name, values in changed.items():
        constants[name] = _holding(constants[name], values)
    return dataclasses.replace(model, graph=dataclasses.replace(model.graph, constants=constants))


def _holding(constant: Constant, values: np.ndarray) -> Constant:
    return dataclasses.replace(constant, load=lambda: values, raw=None)


def _made(model: str, recipe: str, folder: Path) -> onnx.ModelProto:
    if recipe in OWN:
        return OWN[recipe](float_model(model))
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=folder) as scratch:
        warnings.simplefilter("ignore")
        return RECIPES[recipe].make(float_model(model), Path(scratch))


def _rounded(model: models.FloatModel, rule: object, kind: str) -> onnx.ModelProto:
    """Gemm and MatMul weights by a rule of ``tests.quant.rounders`` on the calibration data."""
    out = graph.require_opset(graph.clone(model.proto), 21)
    for name, gram in handmade.gram_matrices(out, model.calibration).items():
        node = next(node for weight, node in graph.float_weights(out) if weight == name)
        value, axis = graph.array(out, name), handmade.out_axis(node)
        rows = np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
        # Inputs with the Gram matrix that was measured, so that the rule may be given inputs.
        sizes, ways = np.linalg.eigh(gram)
        root = (ways * np.sqrt(np.maximum(sizes, 0))).T
        made = rule(rows, root * np.sqrt(len(gram)), top=handmade.LIMITS[kind][1], dtype=kind)
        codes = np.moveaxis(made.codes().astype(np.int64).reshape(np.moveaxis(value, axis, 0).shape), 0, axis)
        handmade.replace_weight(out, name, codes, made.quantized.scale, axis, kind, "qdq")
    return out


OWN = {
    "adaround_descent_int8": lambda model: _rounded(model, rounders.adaround, "int8"),
    "adaround_descent_int4": lambda model: _rounded(model, rounders.adaround, "int4"),
}
