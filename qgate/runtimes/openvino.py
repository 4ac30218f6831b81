"""OpenVINO on the CPU, in float32 where nothing is quantized.

Without the hint it computes in bfloat16 on processors that can, and a float model keeps 50 dB.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "f16": "float16", "f32": "float32", "f64": "float64", "boolean": "bool",
    **{f"{sign[0]}{bits}": f"{sign[1]}{bits}" for sign in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)},
}  # fmt: skip
_NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "Failed to allocate")


def import_library() -> Any:
    """Imports OpenVINO without its telemetry, which starts a thread and sends.

    Its CPU plugin reads the processor's layout when it is first asked, and reads for ever where it may not. So it is asked
    here, before anything is confined.
    """
    # None is how Python is told that a module is not there (the import system's documentation); typeshed knows modules only.
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
    library = import_module("openvino")
    library.Core().get_property("CPU", "FULL_DEVICE_NAME")
    return library


class OpenVinoRunner:
    """A compiled model on OpenVINO's ``CPU`` device.

    Args:
        path: An ONNX model; side files are looked for beside it.
        threads: Threads within one run.
        taps: Inner tensors to return as well, by the names that the file gives them.

    Raises:
        ModelRefusedError: OpenVINO does not convert or compile it.
    """

    reduced = False

    def __init__(self, path: Path, *, threads: int = 1, taps: Sequence[str] = ()) -> None:
        library = import_library()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        try:
            core = library.Core()
            model = core.read_model(str(path))
            own = len(model.outputs)
            known = {name for output in model.outputs for name in output.get_names()}
            self.taps: tuple[str, ...] = tuple(name for name in taps if name not in known)
            if self.taps:
                model.add_outputs(list(self.taps))
            self.inputs = tuple(_info(port) for port in model.inputs)
            self.outputs = tuple(_info(port) for port in model.outputs[:own])
            self._compiled = core.compile_model(model, "CPU", settings)
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to load the model", "memory") from error
        except Exception as error:  # OpenVINO raises RuntimeError, pybind whatever it likes
            raise _refusal(error, path) from error

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``."""
        try:
            results = self._compiled(dict(feeds), share_outputs=False)
            return [results[position] for position in range(len(self.outputs) + len(self.taps))]
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to run the model", "memory") from error
        except Exception as error:  # as above
            raise _refusal(error) from error


def _refusal(error: Exception, path: Path | None = None) -> ModelRefusedError:
    """The end of the message says what went wrong; what comes before are places in OpenVINO's own source."""
    text = str(error) if path is None else str(error).replace(str(path), path.name)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '", "FrontEnd API"))]
    message = one_line("; ".join((told or lines)[-4:]), 400).rstrip(". ")
    short = any(sign in text for sign in _NO_MEMORY)
    return ModelRefusedError(message or type(error).__name__, "memory" if short else "refused")


def _info(port: Any) -> TensorInfo:
    dtype = str(port.get_element_type().get_type_name())
    shape = port.get_partial_shape()
    dims = () if shape.rank.is_dynamic else tuple(_dim(size) for size in shape)
    names = sorted(port.get_names())
    return TensorInfo(names[0] if names else "", _DTYPES.get(dtype, dtype), dims)


def _dim(size: Any) -> Dim:
    return int(size.get_length()) if size.is_static else None
