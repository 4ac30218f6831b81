"""What the exporting child does: load the model, export it in memory, hand the bytes over, or say why not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

from qgate.export.order import ONNX, REASON, ExportOrder
from qgate.measure.plugin import PluginError, installed_packages, load_function, prepare_plugins
from qgate.runtimes.base import ModelRefusedError


def import_libraries() -> None:
    """Imports what every export needs."""
    for name in ("numpy", "onnx", "torch"):
        importlib.import_module(name)


def prepare(request: str) -> list[Path]:
    """Imports and rehearses what this export needs; the files that it reads."""
    from qgate.runtimes.pytorch.libraries import import_torch
    from qgate.runtimes.pytorch.to_onnx import rehearse_export

    order = ExportOrder.from_json(request)
    import_torch({order.form}, torchao=order.torchao)
    rehearse_export(order.opset, dynamo=order.dynamo)
    return [order.model, *prepare_plugins(order.code.values()), *installed_packages()]


def answer(request: str, progress: Callable[[int, int], None]) -> bytes:
    """The model behind ``ONNX``, or one line behind ``REASON``."""
    from qgate.runtimes.pytorch.to_onnx import exported_module, exported_program

    order = ExportOrder.from_json(request)
    warnings.simplefilter("ignore")
    try:
        if order.dynamo:
            return ONNX + exported_program(order.model, order.opset)
        plugin = order.code.get("factory.candidate")
        factory = None if plugin is None else load_function(plugin)
        return ONNX + exported_module(order.model, order.form, factory, order.opset)
    except PluginError as error:
        return REASON + f"{error.where}: {error.what}".encode("utf-8", "replace")
    except ModelRefusedError as error:
        return REASON + error.what.encode("utf-8", "replace")
    except MemoryError:
        return REASON + b"it needs more memory than limits.memory_mb gives"
