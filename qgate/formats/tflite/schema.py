"""Numbers of the LiteRT schema (version 3): fields of its tables, element types, operators.

Source: tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

VERSION = 3
OPERATOR_CODES, SUBGRAPHS, DESCRIPTION, BUFFERS, SIGNATURE_DEFS = 1, 2, 3, 4, 7
SIGNATURE_INPUTS, SIGNATURE_OUTPUTS, SIGNATURE_KEY, SIGNATURE_GRAPH = 0, 1, 2, 4
MAP_NAME, MAP_TENSOR = 0, 1
CODE_OLD, CODE_CUSTOM, CODE_BUILTIN = 0, 1, 3
GRAPH_TENSORS, GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_OPERATORS = 0, 1, 2, 3
SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, SPARSITY, SIGNATURE, EXTERNAL = 0, 1, 2, 3, 4, 6, 7, 10
SCALE, ZERO_POINT, DETAILS_TYPE, AXIS = 2, 3, 4, 6
OPCODE, INPUTS, OUTPUTS = 0, 1, 2
DATA, DATA_OFFSET, DATA_SIZE = 0, 1, 2
CUSTOM = 32

TYPES = {
    0: "float", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "bool", 7: "int16", 8: "complex64",
    9: "int8", 10: "double", 11: "complex128", 12: "uint64", 15: "uint32", 16: "uint16", 17: "int4", 18: "bfloat16",
    20: "uint4", 21: "float8e4m3fn", 22: "float8e5m2",
}  # fmt: skip
"""Element types by ONNX's names; resources, variants and int2 are not read."""

_WORDS = (
    "add average_pool_2d concatenation conv_2d depthwise_conv_2d depth_to_space dequantize embedding_lookup floor "
    "fully_connected hashtable_lookup l2_normalization l2_pool_2d local_response_normalization logistic lsh_projection lstm "
    "max_pool_2d mul relu relu_n1_to_1 relu6 reshape resize_bilinear rnn softmax space_to_depth svdf tanh concat_embeddings "
    "skip_gram call custom embedding_lookup_sparse pad unidirectional_sequence_rnn gather batch_to_space_nd "
    "space_to_batch_nd transpose mean sub div squeeze unidirectional_sequence_lstm strided_slice bidirectional_sequence_rnn "
    "exp topk_v2 split log_softmax delegate bidirectional_sequence_lstm cast prelu maximum arg_max minimum less neg padv2 "
    "greater greater_equal less_equal select slice sin transpose_conv sparse_to_dense tile expand_dims equal not_equal log "
    "sum sqrt rsqrt shape pow arg_min fake_quant reduce_prod reduce_max pack logical_or one_hot logical_and logical_not "
    "unpack reduce_min floor_div reduce_any square zeros_like fill floor_mod range resize_nearest_neighbor leaky_relu "
    "squared_difference mirror_pad abs split_v unique ceil reverse_v2 add_n gather_nd cos where rank elu reverse_sequence "
    "matrix_diag quantize matrix_set_diag round hard_swish if while non_max_suppression_v4 non_max_suppression_v5 "
    "scatter_nd select_v2 densify segment_sum batch_matmul placeholder_for_greater_op_codes cumsum call_once broadcast_to "
    "rfft2d conv_3d imag real complex_abs hashtable hashtable_find hashtable_import hashtable_size reduce_all "
    "conv_3d_transpose var_handle read_variable assign_variable broadcast_args random_standard_normal bucketize "
    "random_uniform multinomial gelu dynamic_update_slice relu_0_to_1 unsorted_segment_prod unsorted_segment_max "
    "unsorted_segment_sum atan2 unsorted_segment_min sign bitcast bitwise_xor right_shift stablehlo_logistic stablehlo_add "
    "stablehlo_divide stablehlo_multiply stablehlo_maximum stablehlo_reshape stablehlo_clamp stablehlo_concatenate "
    "stablehlo_broadcast_in_dim stablehlo_convolution stablehlo_slice stablehlo_custom_call stablehlo_reduce stablehlo_abs "
    "stablehlo_and stablehlo_cosine stablehlo_exponential stablehlo_floor stablehlo_log stablehlo_minimum stablehlo_negate "
    "stablehlo_or stablehlo_power stablehlo_remainder stablehlo_rsqrt stablehlo_select stablehlo_subtract stablehlo_tanh "
    "stablehlo_scatter stablehlo_compare stablehlo_convert stablehlo_dynamic_slice stablehlo_dynamic_update_slice "
    "stablehlo_pad stablehlo_iota stablehlo_dot_general stablehlo_reduce_window stablehlo_sort stablehlo_while "
    "stablehlo_gather stablehlo_transpose dilate stablehlo_rng_bit_generator reduce_window stablehlo_composite "
    "stablehlo_shift_left stablehlo_cbrt stablehlo_case "
)
OPERATORS = tuple(_WORDS.split())
"""Names of the operators by their number."""
