"""Options of LiteRT's operators, as attributes that can be compared.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs, the union ``BuiltinOptions``.
"""

from __future__ import annotations

import hashlib
from typing import Any

from qgate.formats.tflite.flat import Table

UNREAD = "unread"
"""The attribute that says which options of an operator are not known, in words."""
QUANTIZING = frozenset({"asymmetric_quantize_inputs", "quantized_bias_type", "pot_scale_int16"})
"""Options that say how integers are computed with, and not what is computed."""

_TYPE, _TABLE, _CUSTOM = 3, 4, 5
# What the schema holds beyond: options behind the file's end, the second union.
_ELSEWHERE = ((9, "Q"), (10, "Q"), (11, "B"))

_FIELDS = {
    1: "padding:b stride_w:i stride_h:i fused_activation_function:b dilation_width:i=1 dilation_height:i=1 "
    "quantized_bias_type:b",
    2: "padding:b stride_w:i stride_h:i depth_multiplier:i fused_activation_function:b dilation_width:i=1 "
    "dilation_height:i=1",
    3: "num_channels:i num_columns_per_channel:i* embedding_dim_per_channel:i*",
    4: "type:b",
    5: "padding:b stride_w:i stride_h:i filter_width:i filter_height:i fused_activation_function:b",
    6: "rank:i fused_activation_function:b asymmetric_quantize_inputs:B",
    7: "fused_activation_function:b asymmetric_quantize_inputs:B",
    8: "fused_activation_function:b weights_format:b keep_num_dims:B asymmetric_quantize_inputs:B "
    "quantized_bias_type:b quant_spec:B*",
    9: "beta:f",
    10: "axis:i fused_activation_function:b",
    11: "fused_activation_function:b pot_scale_int16:B=1",
    12: "fused_activation_function:b",
    13: "radius:i bias:f alpha:f beta:f",
    14: "fused_activation_function:b cell_clip:f proj_clip:f kernel_type:b asymmetric_quantize_inputs:B",
    15: "_ _ align_corners:B half_pixel_centers:B",
    16: "subgraph:I",
    17: "new_shape:i*",
    18: "ngram_size:i max_skip_size:i include_all_ngrams:B",
    19: "block_size:i",
    20: "combiner:b",
    21: "fused_activation_function:b",
    23: "axis:i batch_dims:i",
    27: "keep_dims:B",
    28: "fused_activation_function:b pot_scale_int16:B=1",
    29: "fused_activation_function:b",
    30: "squeeze_dims:i*",
    31: "time_major:B fused_activation_function:b asymmetric_quantize_inputs:B",
    32: "begin_mask:i end_mask:i ellipsis_mask:i new_axis_mask:i shrink_axis_mask:i offset:B",
    35: "num_splits:i",
    37: "in_data_type:b out_data_type:b",
    40: "output_type:b",
    49: "padding:b stride_w:i stride_h:i fused_activation_function:b quantized_bias_type:b",
    50: "validate_indices:B",
    55: "out_type:b",
    57: "output_type:b",
    58: "min:f max:f num_bits:i narrow_range:B",
    59: "values_count:i axis:i",
    61: "axis:i",
    64: "num:i axis:i",
    69: "fused_activation_function:b cell_clip:f proj_clip:f merge_outputs:B time_major:B=1 "
    "asymmetric_quantize_inputs:B",
    70: "time_major:B fused_activation_function:b merge_outputs:B asymmetric_quantize_inputs:B",
    71: "fused_activation_function:b cell_clip:f proj_clip:f time_major:B asymmetric_quantize_inputs:B "
    "diagonal_recurrent_tensors:B",
    74: "align_corners:B half_pixel_centers:B",
    75: "alpha:f",
    77: "mode:b",
    79: "num_splits:i",
    80: "idx_out_type:b=2",
    87: "seq_dim:i batch_dim:i",
    92: "then_subgraph_index:i else_subgraph_index:i",
    93: "cond_subgraph_index:i body_subgraph_index:i",
    94: "block_size:i",
    101: "adj_x:B adj_y:B asymmetric_quantize_inputs:B",
    102: "exclusive:B reverse:B",
    103: "init_subgraph_index:i",
    106: "padding:b stride_d:i stride_w:i stride_h:i fused_activation_function:b dilation_depth:i=1 "
    "dilation_width:i=1 dilation_height:i=1",
    107: "table_id:i key_dtype:b value_dtype:b",
    114: "seed:q seed2:q",
    115: "boundaries:f*",
    116: "approximate:B",
}
"""By the number of the table: its fields in their order, each a name, its kind and its default; ``_`` is one no longer used."""
_EMPTY = "22 24-26 33-34 36 38-39 41-48 51-54 56 60 62-63 65-68 72-73 76 78 81-86 88-91 95-100 104-105 108-110 112-113 117-126"
"""Tables that have no fields, as ranges of numbers."""


def _numbers(words: str) -> frozenset[int]:
    ranges = (word.partition("-") for word in words.split())
    return frozenset(n for first, _, last in ranges for n in range(int(first), int(last or first) + 1))


_NO_FIELDS = _numbers(_EMPTY)


def read_options(operator: Table) -> dict[str, Any]:
    """The options of an operator: numbers, tuples of them, and the digest of what is its own.

    Args:
        operator: An operator's table.

    Raises:
        FormatError: A table leads out of the file.
    """
    found: dict[str, Any] = {}
    number = operator.scalar(_TYPE, "B")
    table = operator.table(_TABLE) if number else None
    if table is not None:
        found["table"] = number
        found |= _fields(number, table)
    begin, size = operator.bytes_at(_CUSTOM)
    if size:
        found["custom"] = hashlib.sha256(operator.flat.view[begin : begin + size]).hexdigest()
    if any(operator.scalar(slot, kind) for slot, kind in _ELSEWHERE):
        found[UNREAD] = "options of a kind that is not read"
    return found


def _fields(number: int, table: Table) -> dict[str, Any]:
    if number not in _FIELDS and number not in _NO_FIELDS:
        return {UNREAD: f"options of the unknown table {number}"}
    names = _FIELDS.get(number, "").split()
    found: dict[str, Any] = {}
    for slot, entry in enumerate(names):
        if entry == "_":
            continue
        name, _, kind = entry.partition(":")
        kind, _, default = kind.partition("=")
        if kind.endswith("*"):
            found[name] = tuple(table.numbers(slot, kind[0]).tolist())
        elif kind == "f":
            found[name] = table.real(slot)
        else:
            found[name] = table.scalar(slot, kind, int(default or 0))
    if table.has_more(len(names)):
        found[UNREAD] = f"fields of the table {number} that the schema does not have"
    return found
