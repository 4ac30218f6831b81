"""PyTorch's two exporters to ONNX, in memory: nothing is written."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from pathlib import Path
from typing import Any

from qgate.runtimes.base import ModelRefusedError
from qgate.runtimes.pytorch.libraries import REHEARSAL
from qgate.runtimes.pytorch.runner import refusal
from qgate.runtimes.pytorch.state import built_module


def rehearse_export(opset: int, *, dynamo: bool) -> None:
    """Exports a model of our own, so that everything is imported that an export needs; before the walls are up."""
    import torch

    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        if dynamo:
            exported_program(REHEARSAL, opset)
        else:
            quantization: Any = importlib.import_module("torch.ao.quantization")
            made = quantization.QuantWrapper(
                torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.ReLU())
            ).eval()
            made.qconfig = quantization.get_default_qconfig()
            prepared = quantization.prepare(made)
            sample = torch.zeros(1, 1, 2, 2)
            prepared(sample)
            _legacy(quantization.convert(prepared), (sample,), ["x"], opset)


def exported_program(path: Path, opset: int) -> bytes:
    """An exported program as ONNX, by the dynamo exporter: Q/DQ pairs where PT2E put them.

    Raises:
        ModelRefusedError: PyTorch does not load or export it.
    """
    import torch

    try:
        program = torch.export.load(path)
        made = torch.onnx.export(
            program, dynamo=True, opset_version=opset, external_data=False, verbose=False, optimize=True
        )
        if made is None:
            raise ModelRefusedError("PyTorch's exporter returned nothing")
        serialized: bytes = made.model_proto.SerializeToString()
    except (MemoryError, ModelRefusedError):
        raise
    except Exception as error:
        raise refusal(error) from error
    return serialized


def exported_module(path: Path, form: str, factory: Any, opset: int) -> bytes:
    """A checkpoint in its factory's module as ONNX, by the legacy exporter, which knows modules of codes.

    Raises:
        ModelRefusedError: It does not fit, or PyTorch does not export it.
        PluginError: The factory failed.
    """
    module, examples, _ = built_module(path, form, factory)
    if not isinstance(examples, tuple):
        raise ModelRefusedError("the factory gives no example inputs, which an export is traced with")
    from qgate.runtimes.pytorch.runner import module_inputs

    names = [info.name for info in module_inputs(module)][: len(examples)]
    try:
        return _legacy(module, examples, names, opset)
    except MemoryError:
        raise
    except Exception as error:
        raise refusal(error) from error


def _legacy(module: Any, examples: tuple[Any, ...], names: list[str], opset: int) -> bytes:
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.inference_mode():
        count = len(tree_leaves(module(*examples)))
    outputs = ["output"] if count == 1 else [f"output_{number}" for number in range(count)]
    target: Any = io.BytesIO()
    torch.onnx.export(
        module, examples, target, dynamo=False, opset_version=opset, input_names=names, output_names=outputs,
        dynamic_axes={name: {0: "N"} for name in (*names, *outputs)},
    )  # fmt: skip
    serialized: bytes = target.getvalue()
    return serialized
