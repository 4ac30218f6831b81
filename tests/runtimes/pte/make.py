"""Makes the programs beside it: a small network in float32 and, by PT2E, in int8, both lowered to XNNPACK.

pip install executorch==1.5.1 torchao
python tests/runtimes/pte/make.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
    XNNPACKQuantizer,
    get_symmetric_quantization_config,
)
from executorch.exir import to_edge_transform_and_lower
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

HERE = Path(__file__).parent
SHAPE = (1, 3, 16, 16)


def network(seed: int) -> nn.Module:
    """A convolution, a pool and a full connection, from a seed."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)
    ).eval()


def lowered(module: nn.Module) -> bytes:
    """A module as a program whose arithmetic XNNPACK does."""
    program = torch.export.export(module, (torch.zeros(SHAPE),))
    return to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer


def quantized(module: nn.Module) -> nn.Module:
    """The module in int8, weights by channel, calibrated on noise."""
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(module, (torch.zeros(SHAPE),)).module(), quantizer)
    for _ in range(32):
        prepared(torch.randn(SHAPE))
    return convert_pt2e(prepared)


if __name__ == "__main__":
    (HERE / "float.pte").write_bytes(lowered(network(0)))
    (HERE / "int8.pte").write_bytes(lowered(quantized(network(0))))
    (HERE / "int8_other.pte").write_bytes(lowered(quantized(network(1))))
