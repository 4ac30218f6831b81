"""Which recipes on which models, which harmless variants and which faults on which candidates."""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.harmless import VARIANTS
from tests.corpus.honest import RECIPES

SMALL_HONEST = {
    "digits": ["qdq_s8s8_pc", "qop_u8s8_pt", "dynamic_s8_pc", "fp16_keep_io", "qdq_a8w4", "equalised_static"],
    "diabetes": ["qdq_u8s8_pt", "adaround_static"],
    "mlp": ["weight_only_cast_mul", "nbits_block32_symmetric", "gptq_int8", "fp8_weights", "bias_corrected"],
    "cnn_bn": ["float_prepared", "qdq_u8s8_pc", "qdq_prepared", "weight_only_dq", "fp16_half_io"],
    "transformer": ["qdq_u8s8_pc", "dynamic_u8_pt", "nbits_block16_asymmetric", "smoothquant_dynamic"],
    "two_heads": ["qdq_s8s8_pc", "weight_only_blocked8"],
    "autoencoder": ["qdq_s8s8_pt"],
    "lstm": ["qdq_u8s8_pt"],
}
HEAVY_RECIPES = {"dynamic_reduce_range", "dynamic_s8_pt", "ort_nbits_hqq", "qdq_dedicated"}
HEAVY_MODELS = {"ppocr_cls", "crepe_tiny"}

VARIANT_BASES_SMALL = [("digits", "qdq_s8s8_pc")]
VARIANT_BASES_FULL = [
    *VARIANT_BASES_SMALL,
    ("cnn_bn", "qdq_u8s8_pc"),
    ("mlp", "qop_u8s8_pt"),
    ("transformer", "nbits_block32_symmetric"),
    ("two_heads", "dynamic_s8_pc"),
    ("depthwise", "fp16_keep_io"),
    ("mtcnn_rnet", "weight_only_dq"),
]

FAULT_BASES = [
    ("digits", "qdq_s8s8_pc"),
    ("cnn_bn", "qdq_u8s8_pc"),
    ("transformer", "qdq_u8s8_pc"),
    ("two_heads", "qdq_s8s8_pt"),
    ("mlp", "qop_u8s8_pt"),
    ("digits", "dynamic_s8_pc"),
    ("cnn_bn", "float_prepared"),
    ("depthwise", "fp16_keep_io"),
    ("transformer", "nbits_block32_symmetric"),
    ("mlp", "weight_only_int4"),
    ("mtcnn_rnet", "qop_u8u8_pt"),
    ("mlp", "weight_only_cast_mul"),
    ("autoencoder", "qdq_s8s8_pc"),
    ("depthwise", "qdq_s8s8_pt"),
    ("transformer", "dynamic_u8_pt"),
    ("two_heads", "weight_only_blocked4"),
    ("mtcnn_rnet", "qdq_u8u8_pt"),
    ("lstm", "qdq_u8s8_pt"),
    ("cnn_bn", "fp16_keep_io"),
    ("mlp", "nbits_block16_asymmetric"),
    ("cnn_bn", "weight_only_dq"),
    ("two_heads", "float_other_words"),
]


def honest_pairs(selection: str, models: list[str]) -> Iterator[tuple[str, str]]:
    """(model, recipe) of the honest cases."""
    for model in models:
        if selection == "small":
            yield from ((model, name) for name in SMALL_HONEST.get(model, ()))
            continue
        for name in RECIPES:
            if not (model in HEAVY_MODELS and name in HEAVY_RECIPES):
                yield model, name


def variant_pairs(selection: str) -> Iterator[tuple[str, str, str]]:
    """(model, recipe, variant) of the harmless changes."""
    for model, name in VARIANT_BASES_SMALL if selection == "small" else VARIANT_BASES_FULL:
        yield from ((model, name, variant) for variant in VARIANTS)


def fault_bases(position: int) -> list[tuple[str, str]]:
    """All bases, starting at another one for each fault, so that few per fault still use them all."""
    turn = position % len(FAULT_BASES)
    return FAULT_BASES[turn:] + FAULT_BASES[:turn]
