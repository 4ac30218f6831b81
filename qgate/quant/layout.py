"""Families of operators: those that move data, those that optimisers fuse others into, and their parts.

Imports nothing, so that rules may name them too.
"""

LAYOUT = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Pad", "Expand"})

FUSED = frozenset(
    {
    "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "LayerNormalization", "SkipLayerNormalization",
    "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "RMSNormalization", "Attention",
    "MultiHeadAttention", "GroupQueryAttention", "QAttention", "EmbedLayerNormalization", "FusedMatMul",
    "RotaryEmbedding", "BiasSoftmax", "GroupNorm", "GroupNormalization", "InstanceNormalization", "HardSwish",
    "Swish", "FusedMatMulActivation", "TransposeMatMul", "QEmbedLayerNormalization",
    "LSTM", "GRU",
}
)  # fmt: skip
# What fusions are made of.
PARTS = frozenset(
    {
    "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Erf", "Tanh", "Sigmoid", "Softmax", "ReduceMean", "MatMul", "Split",
    "Slice", "Concat", "Gather", "Where", "Shape", "Neg", "Reciprocal", "Max", "Exp", "Clip", "If",
}
)  # fmt: skip
