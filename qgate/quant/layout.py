"""Families of operators: those that move data, those that optimisers fuse others into, and their parts.

Imports nothing, so that rules may name them too.
"""

LAYOUT = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Pad", "Expand"})

# Activations are not among them: those are recognised by what they compute (qgate/quant/curves.py) or are others.
FUSED = frozenset(
    {
    "LayerNormalization", "SkipLayerNormalization",
    "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "RMSNormalization", "Attention",
    "MultiHeadAttention", "GroupQueryAttention", "QAttention", "EmbedLayerNormalization", "FusedMatMul",
    "RotaryEmbedding", "BiasSoftmax", "GroupNorm", "GroupNormalization", "InstanceNormalization",
    "FusedMatMulActivation", "TransposeMatMul", "QEmbedLayerNormalization",
    "LSTM", "GRU",
}
)  # fmt: skip
# What a fused operator is taken apart into. Nothing that chooses: a payload could hide among those.
ARITHMETIC = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Tanh", "Sigmoid", "Softmax", "ReduceMean", "MatMul",
        "Split", "Concat", "Reciprocal",
    }
)  # fmt: skip
# What may vanish into a fused operator.
PARTS = ARITHMETIC | {"Slice", "Gather", "Where", "Shape", "Neg", "Max", "Exp", "Clip", "If", "Cast"}
