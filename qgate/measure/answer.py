"""What the child does with a request: measure the pair and say so in JSON, or say why not."""

from __future__ import annotations

import codecs
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qgate.errors import DataError
from qgate.measure.observing import Progress, measure, rows
from qgate.measure.plugin import PluginError, installed_packages, prepare_plugins
from qgate.measure.request import BOXES, TEXTS, PairRequest

SCHEMA = "qgate-child/v1"

_LIBRARIES = (
    *("numpy", "numpy.random", "numpy.char", "numpy.ma", "onnxruntime", "mmap", "zipfile", "zlib"),
    *(
        "qgate.measure.run",
        "qgate.measure.open_data",
        "qgate.measure.task",
        "qgate.measure.generate",
        "qgate.measure.edges",
        "qgate.measure.unoptimised",
        "qgate.measure.part",
    ),
)
_CODECS = ("unicode_escape", "ascii", "latin-1", "cp437", "utf-8")


def import_common_libraries() -> None:
    """Imports what every request needs, because afterwards nothing may be readable any more."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in _CODECS:
        codecs.lookup(name)


def prepare(request: str) -> list[Path]:
    """Imports what only this request needs as well; returns the files that its answer reads."""
    asked = PairRequest.from_json(request)
    if asked.inputs is None:
        for name in ("onnx", "onnx.numpy_helper"):
            importlib.import_module(name)
    if asked.inputs is not None:
        from qgate.measure.open_data import import_readers

        import_readers(asked.inputs, asked.images)
    if asked.task in TEXTS:
        importlib.import_module("rapidfuzz.distance")
    if asked.task in BOXES:
        importlib.import_module("pycocotools.cocoeval")
    folders = prepare_plugins(asked.code.values())
    forms = set(asked.forms.values())
    if "tflite" in forms:
        from qgate.runtimes.litert import import_library

        import_library()
    if forms - {"tflite"}:
        from qgate.runtimes.pytorch.libraries import import_torch

        import_torch(forms - {"tflite"}, torchao=asked.torchao)
        folders += installed_packages()
    if asked.cost in ("reference", "candidate"):
        from qgate.measure.costs import STATUS

        folders.append(STATUS)
    return [*asked.files(), *folders]


def answer(request: str, progress: Progress) -> bytes:
    """The result, or the error, as JSON."""
    from qgate.measure.side import SideError

    asked = PairRequest.from_json(request)
    try:
        if asked.cost == "rows":
            found: dict[str, Any] = {"rows": rows(asked)}
        elif asked.cost:
            from qgate.measure.costs import measure_cost

            found = {"cost": measure_cost(asked)}
        else:
            found = {"result": measure(asked, progress)}
    except SideError as error:
        found = {"error": {"kind": error.cause, "role": error.role, "what": error.what}}
    except DataError as error:
        found = {"error": {"kind": "data", "what": error.what, "where": error.where, "remedy": error.remedy}}
    except PluginError as error:
        found = {"error": {"kind": "code", "what": error.what, "where": error.where, "remedy": error.remedy}}
    except MemoryError:
        found = {"error": {"kind": "memory"}}
    return json.dumps(_encoded({"schema": SCHEMA, **found}), allow_nan=False).encode()


def _encoded(value: Any) -> Any:
    """The value with non-finite numbers as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {key: _encoded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    return value
