"""Honest files that PyTorch and safetensors write."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.corpus import nets

Made = tuple[str, str, str, "bytes | Callable[[Path], None]", str]


def networks() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    """Untrained networks with example inputs."""
    image = torch.zeros(2, 1, 8, 8)
    return {
        "mlp": (nets.mlp(0), (torch.zeros(2, 24),)),
        "residual": (nets.residual(0), (image,)),
        "depthwise": (nets.depthwise(0), (image,)),
        "autoencoder": (nets.autoencoder(0), (image,)),
        "transformer": (nets.transformer(0), (torch.zeros(2, 16, dtype=torch.long),)),
        "tied": (nets.tied_language_model(0), (torch.zeros(2, 6, dtype=torch.long),)),
        "lstm": (nets.recurrent("LSTM", 0), (torch.zeros(2, 24, 3),)),
        "gru": (nets.recurrent("GRU", 0), (torch.zeros(2, 24, 3),)),
    }


def saved(value: Any, **options: Any) -> bytes:
    """What ``torch.save`` writes."""
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
DTYPES = {"float": torch.float32, "half": torch.float16, "bfloat": torch.bfloat16, "double": torch.float64}


def checkpoints(*, full: bool, skipped: list[str]) -> Iterator[Made]:
    """State dicts by ``torch.save``."""
    for name, (net, _) in networks().items():
        for label, dtype in DTYPES.items():
            yield "torch.save", f"{name}-{label}", label, saved(net.to(dtype).state_dict()), "model.pt"
        old = saved(net.float().state_dict(), _use_new_zipfile_serialization=False)
        yield "torch.save (legacy)", name, "float", old, "model.pth"
    net = nets.mlp(0)
    for protocol in (2, 3, 4, 5):
        made = saved(net.state_dict(), pickle_protocol=protocol)
        yield "torch.save", f"protocol-{protocol}", "float", made, "model.pt"
    for label, optimizer in (
        ("sgd", torch.optim.SGD(net.parameters(), 0.1, 0.9)),
        ("adam", torch.optim.Adam(net.parameters())),
    ):
        net(torch.zeros(2, 24)).sum().backward()
        optimizer.step()
        held = {
            "epoch": 3,
            "loss": 0.25,
            "state_dict": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "note": "best",
        }
        yield "torch.save", f"training-{label}", "float, with optimizer", saved(held), "checkpoint.pt"
    yield from _corners(net)
    yield from _quantized()
    if full and importlib.util.find_spec("torchao") is None:
        skipped.append("torchao: not installed")
    elif full:
        yield from _torchao(skipped)


def _corners(net: nn.Module) -> Iterator[Made]:
    weight = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    held = {
        "parameters": dict(net.named_parameters()),
        "views": {"whole": weight, "part": weight[1:3], "turned": weight.t(), "steps": weight[:, ::2]},
        "sizes": {"empty": torch.zeros(0, 3), "scalar": torch.tensor(1.5), "flags": torch.tensor([True, False])},
        "integers": {
            str(d).removeprefix("torch."): torch.ones(3, dtype=d) for d in INTEGERS
        },
        "float8": {"a": torch.ones(4).to(torch.float8_e4m3fn), "b": torch.ones(4).to(torch.float8_e5m2)},
    }  # fmt: skip
    for name, value in held.items():
        yield "torch.save", f"corner-{name}", name, saved(value), "model.pt"
    yield (
        "torch.save",
        "corner-buffers",
        "batch norm counters",
        saved(nn.BatchNorm2d(4).state_dict()),
        "model.pt",
    )


def _quantized() -> Iterator[Made]:
    import torch.ao.quantization as ao

    torch.backends.quantized.engine = next(
        e for e in ("fbgemm", "x86", "onednn", "qnnpack") if e in torch.backends.quantized.supported_engines
    )
    for name, types in (("linear", {nn.Linear}), ("lstm", {nn.LSTM, nn.Linear})):
        net = nets.mlp(0) if name == "linear" else nets.recurrent("LSTM", 0)
        for label, dtype in (("qint8", torch.qint8), ("float16", torch.float16)):
            made = ao.quantize_dynamic(net.eval(), types, dtype=dtype)
            yield (
                "torch.ao (dynamic)",
                f"{name}-{label}",
                f"dynamic {label}",
                saved(made.state_dict()),
                "model.pt",
            )
    for label, config in (("channel", "fbgemm"), ("tensor", "qnnpack")):
        for name, net in (("mlp", nets.mlp(0)), ("depthwise", nets.depthwise(0))):
            wrapped = ao.QuantWrapper(net.eval())
            wrapped.qconfig = ao.get_default_qconfig(config)
            ready = ao.prepare(wrapped)
            ready(torch.randn(4, 24) if name == "mlp" else torch.randn(4, 1, 8, 8))
            made = ao.convert(ready)
            yield (
                "torch.ao (eager)",
                f"{name}-{label}",
                f"static per {label}",
                saved(made.state_dict()),
                "model.pt",
            )
            old = saved(made.state_dict(), _use_new_zipfile_serialization=False)
            yield (
                "torch.ao (eager)",
                f"{name}-{label}-legacy",
                f"static per {label}, legacy file",
                old,
                "model.pt",
            )
    weight = torch.randn(6, 8)
    per_tensor = torch.quantize_per_tensor(weight, 0.02, 3, torch.quint8)
    per_channel = torch.quantize_per_channel(
        weight, torch.rand(6) + 0.01, torch.zeros(6, dtype=torch.long), 0, torch.qint8
    )
    bare = {"a": per_tensor, "b": per_channel, "c": torch.quantize_per_tensor(weight, 0.001, 0, torch.qint32)}
    yield "torch.ao (eager)", "bare-tensors", "quint8, qint8, qint32", saved(bare), "model.pt"


def _torchao(skipped: list[str]) -> Iterator[Made]:
    import torchao.quantization as q

    configs = {
        "int8-weights": q.Int8WeightOnlyConfig, "int8-dynamic": q.Int8DynamicActivationInt8WeightConfig,
        "float8-weights": q.Float8WeightOnlyConfig, "intx-weights": q.IntxWeightOnlyConfig,
        "int8-intx": q.Int8DynamicActivationIntxWeightConfig,
    }  # fmt: skip
    for label, config in configs.items():
        net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).to(torch.bfloat16)
        try:
            q.quantize_(net, config())
            made = saved(net.state_dict())
        except Exception as error:  # a scheme that this processor or release lacks
            skipped.append(f"torchao {label}: {type(error).__name__}: {str(error)[:80]}")
            continue
        yield "torchao", label, label, made, "model.pt"


class Stored(nn.Module):
    """A linear layer over int8 weights, as PT2E writes it."""

    def __init__(self, per_channel: bool) -> None:
        super().__init__()
        self.per_channel = per_channel
        self.register_buffer("weight", torch.randint(-127, 127, (3, 4), dtype=torch.int8))
        self.register_buffer("scale", torch.full((3,), 0.01))
        self.register_buffer("zero", torch.zeros(3, dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ops = torch.ops.quantized_decomposed
        x = ops.dequantize_per_tensor(
            ops.quantize_per_tensor(x, 0.1, 0, -128, 127, torch.int8), 0.1, 0, -128, 127, torch.int8
        )
        if self.per_channel:
            w = ops.dequantize_per_channel(self.weight, self.scale, self.zero, 0, -127, 127, torch.int8)
        else:
            w = ops.dequantize_per_tensor(self.weight, 0.01, 0, -127, 127, torch.int8)
        return torch.nn.functional.linear(x, w)


def programs(*, full: bool, skipped: list[str]) -> Iterator[Made]:
    """Archives by ``torch.export.save``."""
    import torch.ao.quantization.fx._decomposed  # registers the operators

    chosen = networks() if full else {k: v for k, v in networks().items() if k == "mlp"}
    for name, (net, example) in chosen.items():
        yield "torch.export", name, "float", exported(net, example, None), "model.pt2"
        batch = torch.export.Dim("batch", min=2, max=64)
        shapes = ({0: batch},) if name not in ("lstm", "gru") else None
        if shapes and full:
            yield (
                "torch.export",
                f"{name}-dynamic",
                "float, symbolic batch",
                exported(net, example, shapes),
                "model.pt2",
            )
            half = exported(
                net.half(), tuple(x.half() if x.is_floating_point() else x for x in example), None
            )
            yield "torch.export", f"{name}-half", "float16", half, "model.pt2"
    for label in ("tensor", "channel"):
        made = exported(Stored(label == "channel"), (torch.zeros(2, 4),), None)
        yield "torch.export", f"int8-{label}", f"int8 per {label}, decomposed", made, "model.pt2"


def exported(net: nn.Module, example: tuple[torch.Tensor, ...], shapes: Any) -> bytes:
    out = io.BytesIO()
    torch.export.save(torch.export.export(net.eval(), example, dynamic_shapes=shapes), out)
    return out.getvalue()


def tensors(*, full: bool, skipped: list[str]) -> Iterator[Made]:
    """safetensors files."""
    if importlib.util.find_spec("safetensors") is None:
        skipped.append("safetensors: not installed")
        return
    from safetensors.torch import save

    for name, (net, _) in networks().items():
        for label, dtype in DTYPES.items():
            state = {k: v.clone().contiguous() for k, v in net.to(dtype).state_dict().items()}
            yield "safetensors", f"{name}-{label}", label, save(state, {"format": "pt"}), "model.safetensors"
    kinds = (
        torch.int8,
        torch.uint8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.bool,
        torch.float8_e4m3fn,
        torch.float8_e5m2,
    )
    held = {str(kind).removeprefix("torch."): torch.ones(4, 2).to(kind) for kind in kinds}
    yield "safetensors", "types", "eight element types", save(held), "model.safetensors"
    corners = {"empty": torch.zeros(0, 3), "scalar": torch.tensor(1.0), "Zoë/量化": torch.ones(2)}
    yield "safetensors", "corners", "empty, scalar, odd names", save(corners), "model.safetensors"
