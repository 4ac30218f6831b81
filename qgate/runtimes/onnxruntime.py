"""ONNX Runtime on the CPU, set up so that the same bytes give the same numbers."""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.runtimes.base import Dim, ModelRefusedError, TensorInfo
from qgate.runtimes.onnx_taps import added_energies, added_outputs
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_C = ctypes.CDLL(None)
_SILENT = 4
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float16": "float16",
    "bool": "bool",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "bad allocation", "Cannot allocate memory")
_REWRITE_FAILED = ("Exception during initialization", "Failed to find kernel for com.microsoft.")
_ERRNO = re.compile(r"SystemError : (\d{1,3})\b")
_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")


class OnnxRuntimeRunner:
    """A session on ``CPUExecutionProvider``.

    Args:
        path: The model; side files are looked for beside it.
        threads: Threads within one run. With 1, several runs at once scale better than one wide run.
        taps: Inner tensors to return as well.
        watched: Inner tensors whose sums of squares are kept.
        optimise: Let ONNX Runtime rewrite the graph; without, operators run as the file has them.
        exact: Products of bytes must not saturate; without, this processor answers as ONNX Runtime does by default.

    Attributes:
        energies: Of the last run, the sum of squares of each watched tensor.
        reduced: It only loads with basic graph optimisations.

    Raises:
        ModelRefusedError: ONNX Runtime does not load it.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        taps: Sequence[str] = (),
        watched: Sequence[str] = (),
        optimise: bool = True,
        exact: bool = True,
    ) -> None:
        options = _options(threads, exact=exact)
        if not optimise:
            import onnxruntime

            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if taps or watched:
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(path.parent)
            )
        self._source = path, added_outputs(taps) + added_energies(watched)
        self._options, self._held = options, threading.Lock()
        self._session, self.reduced = self._load()
        self.inputs = tuple(_info(value) for value in self._session.get_inputs())
        declared = tuple(_info(value) for value in self._session.get_outputs())
        self.energies: list[float] = []
        self._watched = len(watched)
        self.outputs = declared[: len(declared) - len(taps) - len(watched)]
        self.taps = tuple(taps)
        self._wanted = [value.name for value in declared]

    def _load(self) -> tuple[Any, bool]:
        path, added = self._source
        try:
            return _session(path, self._options, added)
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to load the model", "memory") from error
        except Exception as error:  # onnxruntime's exceptions have no root of their own
            raise _refusal(error, path) from error

    def release(self) -> None:
        """Gives the model's memory back; the next run loads it again. No run may be under way."""
        with self._held:
            self._session = None
        # glibc keeps what lies between blocks that are still in use: a fifth of a large model.
        trim = getattr(_C, "malloc_trim", None)
        if trim is not None:
            trim(0)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``."""
        with self._held:
            if self._session is None:
                self._session, self.reduced = self._load()
            session = self._session
        try:
            results: list[Any] = session.run(self._wanted, dict(feeds))
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to run the model", "memory") from error
        except Exception as error:  # onnxruntime's exceptions have no root of their own
            raise _refusal(error) from error
        if self._watched:
            self.energies = [float(each) for each in results[len(results) - self._watched :]]
            del results[len(results) - self._watched :]
        return results


def _options(threads: int, *, exact: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Without it u8s8 and s8s8 products saturate on AVX2 without VNNI, and answers depend on the machine.
    options.add_session_config_entry("session.x64quantprecision", "1" if exact else "0")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _session(path: Path, options: Any, added: bytes) -> tuple[Any, bool]:
    """A session, and whether it had to do with basic optimisations.

    ONNX Runtime's own rewrite for exact products fails on some valid files ("Attempt to replace the
    existing tensor"). Those are run as written, which is as exact and slower, rather than refused.
    """
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    source = path.read_bytes() + added if added else str(path)
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers), False
    except Exception as error:
        if not any(sign in str(error) for sign in _REWRITE_FAILED):
            raise
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers), True
    except Exception as error:
        if not any(sign in str(error) for sign in _REWRITE_FAILED):
            raise
        # Not even as written: the rewrite itself makes operators that have no kernel. Then it is run without.
        options.add_session_config_entry("session.x64quantprecision", "0")
        return onnxruntime.InferenceSession(source, options, providers=providers), True


def _refusal(error: Exception, path: Path | None = None) -> ModelRefusedError:
    text = _ERRNO.sub(lambda found: f"{found[0]} ({os.strerror(int(found[1]))})", _PREFIX.sub("", str(error)))
    message = one_line(text if path is None else text.replace(str(path), path.name)).rstrip(". ")
    short = any(sign in str(error) for sign in _NO_MEMORY)
    return ModelRefusedError(message or type(error).__name__, "memory" if short else "refused")


def _info(value: Any) -> TensorInfo:
    found = re.fullmatch(r"tensor\((\w+)\)", value.type)
    dtype = _DTYPES.get(found[1], found[1]) if found else str(value.type)
    return TensorInfo(value.name, dtype, tuple(_dim(size) for size in value.shape or ()))


def _dim(size: object) -> Dim:
    if isinstance(size, int):
        return size
    return str(size) if size is not None else None
