"""The article's model, and what builds it for each way of quantizing: factories for ``qgate``.

qgate verify -r fp32.pt -c eager_int8.pt --reference-factory model.py:fp32 --candidate-factory model.py:eager
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.ao import quantization
from torch.ao.quantization import quantize_fx

EXAMPLE = torch.zeros(1, 3, 32, 32)


class Model(nn.Module):
    """Convolution, ReLU, pooling and a linear layer, on images of 3x32x32."""

    def __init__(self) -> None:
        super().__init__()
        # What eager mode needs to be told where codes begin and end; both do nothing in a float model.
        self.quant = quantization.QuantStub()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(8)
        self.fc = nn.Linear(16 * 4 * 4, 10)
        self.dequant = quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.conv(self.quant(x))))
        return self.dequant(self.fc(x.flatten(1)))


def converted_eager(model: nn.Module, data: torch.Tensor, *, qconfig: bool = True) -> nn.Module:
    """Eager mode: fuse, set a ``qconfig``, prepare, calibrate, convert. Without it nothing is converted."""
    model = copy.deepcopy(model).eval()
    if qconfig:
        model = quantization.fuse_modules(model, [["conv", "relu"]])
        model.qconfig = quantization.get_default_qconfig("x86")
    prepared = quantization.prepare(model)
    prepared(data)
    return quantization.convert(prepared)


def converted_fx(model: nn.Module, data: torch.Tensor) -> nn.Module:
    """FX graph mode: traced, so that nothing has to be fused by hand."""
    mapping = quantization.get_default_qconfig_mapping("x86")
    prepared = quantize_fx.prepare_fx(copy.deepcopy(model).eval(), mapping, (data,))
    prepared(data)
    return quantize_fx.convert_fx(prepared)


def converted_dynamic(model: nn.Module) -> nn.Module:
    """Dynamic: weights of linear layers, activations while it runs."""
    return quantization.quantize_dynamic(copy.deepcopy(model).eval(), {nn.Linear}, dtype=torch.qint8)


def fp32() -> tuple[nn.Module, torch.Tensor]:
    """The float model."""
    return Model(), EXAMPLE


def eager() -> tuple[nn.Module, torch.Tensor]:
    """The module that a checkpoint of eager mode fits."""
    return converted_eager(Model(), EXAMPLE), EXAMPLE


def fx() -> tuple[nn.Module, torch.Tensor]:
    """The module that a checkpoint of FX graph mode fits."""
    return converted_fx(Model(), EXAMPLE), EXAMPLE


def dynamic() -> tuple[nn.Module, torch.Tensor]:
    """The module that a dynamically quantized checkpoint fits."""
    return converted_dynamic(Model()), EXAMPLE
