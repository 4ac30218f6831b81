"""What PyTorch needs to have imported and opened before the child is confined.

PyTorch imports parts of itself late, asks the processor what it can when a quantized engine is first used, and
opens shared libraries then. None of that is possible behind the walls, so it is rehearsed before them, on models of
our own; nothing of the request is read here.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

from qgate.runtimes.pytorch.executorch import import_interpreter
from qgate.runtimes.registry import TORCH

TORCH_FORMS = frozenset(TORCH)
"""Formats that PyTorch runs."""

REHEARSAL = Path(__file__).with_name("rehearsal.pt2")
"""A tiny quantized program of our own, made by ``tools/rehearsal.py``."""

_LIBRARIES = (
    "torch.ao.quantization", "torch.ao.quantization.quantize_fx", "torch.ao.nn.quantized", "torch.ao.nn.intrinsic",
    "torch.ao.quantization.fx._decomposed", "torch.fx",
)  # fmt: skip
_TORCHAO = ("torchao.quantization", "torchao.quantization.pt2e.quantize_pt2e")


def import_torch(forms: Collection[str], *, torchao: bool = False) -> None:
    """Imports PyTorch and rehearses what runs of these formats use; in the child, before it is confined.

    Args:
        forms: Formats of the models.
        torchao: Tensors or operations are torchao's.
    """
    import torch

    # Another thread would stay outside of the walls.
    torch.set_num_threads(1)
    with contextlib.suppress(ImportError):
        tqdm = importlib.import_module(
            "tqdm"
        )  # its progress bars, which PyTorch's interpreter makes, start one
        tqdm.tqdm.monitor_interval = 0
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        for name in _LIBRARIES:
            importlib.import_module(name)
        for name in _TORCHAO if torchao else ():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        _rehearse_engines()
        if "torch-export" in forms:
            program = torch.export.load(REHEARSAL)
            torch.fx.Interpreter(program.module()).run(torch.zeros(1, 2))
        if "executorch" in forms:
            import_interpreter()
        if set(forms) - {"torch-export", "torchscript", "executorch"}:
            _rehearse_factories()


def _rehearse_engines() -> None:
    import torch

    chosen = torch.backends.quantized.engine
    for engine in torch.backends.quantized.supported_engines:
        with contextlib.suppress(Exception):
            torch.backends.quantized.engine = engine
            quantized: Any = importlib.import_module("torch.ao.nn.quantized")
            quantized.Linear(4, 4)(torch.quantize_per_tensor(torch.ones(1, 4), 0.1, 0, torch.quint8))
    torch.backends.quantized.engine = chosen


def _rehearse_factories() -> None:
    """The three ways in which factories make modules that quantized checkpoints fit."""
    import torch
    from torch.ao.quantization import quantize_fx

    quantization: Any = importlib.import_module("torch.ao.quantization")
    plain = torch.nn.Sequential(
        torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(1, 1)
    )
    sample = torch.zeros(1, 1, 1, 1)
    with contextlib.suppress(Exception):
        quantization.quantize_dynamic(plain.eval(), {torch.nn.Linear})
    with contextlib.suppress(Exception):
        mapping = quantization.get_default_qconfig_mapping()
        made = quantize_fx.prepare_fx(plain.eval(), mapping, (sample,))
        made(sample)
        quantize_fx.convert_fx(made)(sample)
    with contextlib.suppress(Exception):
        eager = quantization.QuantWrapper(plain).eval()
        eager.qconfig = quantization.get_default_qconfig()
        quantization.fuse_modules(eager, [["module.0", "module.1"]], inplace=True)
        quantization.prepare(eager, inplace=True)
        eager(sample)
        quantization.convert(eager, inplace=True)
        eager(sample)
