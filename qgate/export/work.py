"""What the exporting child does: export the model or rewrite its export in memory, hand the bytes over, or say why not."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from pathlib import Path

from qgate.export.order import ONNX, REASON, ExportOrder
from qgate.measure.plugin import PluginError, installed_packages, load_function, prepare_plugins
from qgate.runtimes.base import ModelRefusedError

_NO_MEMORY = b"it needs more memory than limits.memory_mb gives"


def import_libraries() -> None:
    """Imports what every export needs."""
    for name in ("numpy", "onnx"):
        importlib.import_module(name)


def prepare(request: str) -> list[Path]:
    """Imports and rehearses what this work needs; the files that it reads."""
    order = ExportOrder.from_json(request)
    if order.recipe:
        for name in ("onnx.inliner", "onnx.helper", "onnx.numpy_helper", "qgate.export.recipe"):
            importlib.import_module(name)
        return [order.model]
    from qgate.runtimes.pytorch.libraries import import_torch
    from qgate.runtimes.pytorch.to_onnx import rehearse_export

    import_torch({order.form}, torchao=order.torchao)
    rehearse_export(order.opset, dynamo=order.dynamo)
    return [order.model, *prepare_plugins(order.code.values()), *installed_packages()]


def answer(request: str, progress: Callable[[int, int], None]) -> bytes:
    """The model behind ``ONNX``, or one line behind ``REASON``."""
    order = ExportOrder.from_json(request)
    if order.recipe:
        return _rewritten(order)
    from qgate.runtimes.pytorch.to_onnx import exported_module, exported_program

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
        return REASON + _NO_MEMORY


def _rewritten(order: ExportOrder) -> bytes:
    from qgate.export.graph import RecipeError
    from qgate.export.recipe import symmetric, unrounded

    try:
        serialized = order.model.read_bytes()
        made = unrounded(serialized) if order.recipe == "unrounded" else symmetric(serialized, order.ranges)
        return ONNX + made
    except RecipeError as error:
        return REASON + error.what.encode("utf-8", "replace")
    except MemoryError:
        return REASON + _NO_MEMORY
    except Exception as error:  # what no exporter writes, in places that nothing looked at
        return REASON + f"{type(error).__name__}: {error}".encode("utf-8", "replace")
