"""Models and checkpoints that the installed PyTorch writes; importing this imports torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Net(nn.Module):
    """A convolution with BatchNorm and a linear layer, trained enough to have statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(288, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.relu(self.bn(self.conv(x))).flatten(1))


class Stubbed(Net):
    """The same with the stubs of eager quantization."""

    def __init__(self) -> None:
        super().__init__()
        self.quant = torch.ao.quantization.QuantStub()
        self.dequant = torch.ao.quantization.DeQuantStub()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dequant(super().forward(self.quant(x)))


def inputs(count: int = 8) -> torch.Tensor:
    """Images of noise."""
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def trained() -> Stubbed:
    """The float model, the same every time."""
    torch.manual_seed(0)
    net = Stubbed()
    for _ in range(5):
        net(inputs(16) * 2 + 1)
    nn.init.normal_(net.bn.weight, 1, 0.3)
    nn.init.normal_(net.bn.bias)
    return net.eval()


def static(engine: str = "x86") -> dict[str, Any]:
    """The state dict of eager static quantization, convolution and BatchNorm fused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.quantized.engine = engine
        net = torch.ao.quantization.fuse_modules(trained(), [["conv", "bn", "relu"]])
        net.qconfig = torch.ao.quantization.get_default_qconfig(engine)
        prepared = torch.ao.quantization.prepare(net)
        prepared(inputs())
        return dict(torch.ao.quantization.convert(prepared).state_dict())


def dynamic() -> dict[str, Any]:
    """The state dict of eager dynamic quantization."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.backends.quantized.engine = "x86"
        quantized = torch.ao.quantization.quantize_dynamic(trained(), {nn.Linear}, dtype=torch.qint8)
        return dict(quantized.state_dict())


def halved(dtype: torch.dtype) -> dict[str, Any]:
    """The float state dict in a shorter type."""
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in trained().state_dict().items()}


class Affine(nn.Module):
    """A linear layer with codes in a buffer, as PT2E leaves it."""

    def __init__(self, source: nn.Linear, bits: int = 8) -> None:
        super().__init__()
        from torch.ao.quantization.fx import _decomposed  # registers the operators

        del _decomposed
        least, greatest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        scale = source.weight.detach().abs().amax(dim=1) / greatest
        codes = torch.clamp(torch.round(source.weight.detach() / scale[:, None]), least, greatest)
        self.register_buffer("_frozen_param0", codes.to(torch.int8))
        self.register_buffer("_scale_0", scale)
        self.register_buffer("_zero_point_0", torch.zeros(len(scale), dtype=torch.int64))
        self.bias = nn.Parameter(source.bias.detach().clone())
        self.limits = (least, greatest)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = torch.ops.quantized_decomposed
        x = q.dequantize_per_tensor(
            q.quantize_per_tensor(x, 0.05, 3, -128, 127, torch.int8), 0.05, 3, -128, 127, torch.int8
        )
        weight = q.dequantize_per_channel(
            self._frozen_param0, self._scale_0, self._zero_point_0, 0, *self.limits, torch.int8
        )
        return nn.functional.linear(x, weight, self.bias)


def linear() -> nn.Linear:
    """A linear layer, the same every time."""
    torch.manual_seed(2)
    return nn.Linear(32, 16)


def exported(path: Path, module: nn.Module, example: tuple[Any, ...], **settings: Any) -> Path:
    """Writes a .pt2."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), example, **settings), path)
    return path
