"""LiteRT (TensorFlow Lite) on the CPU, with its default kernels (XNNPACK)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.base import ModelRefusedError, TensorInfo
from qgate.runtimes.litert_ends import Ends
from qgate.sandbox.quoting import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MODULE = "ai_edge_litert"
_WATCHED = ("float32", "float16", "int8", "uint8", "int16")
_NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "memory allocation")


def import_library() -> Any:
    """Imports LiteRT; no thread is started by that."""
    return import_module(f"{_MODULE}.interpreter")


class LiteRtRunner:
    """An interpreter of a ``.tflite`` file; one run at a time, whoever asks.

    Args:
        path: The model.
        threads: Threads within one run.
        taps: Inner tensors that ``run`` returns after the outputs, by the names that ``formats.tflite`` gives them; codes
            as they are. They are kept by LiteRT's ``experimental_preserve_all_tensors``.
        numbers: Inputs and outputs that are codes with one scale are given and returned as the numbers that they stand
            for, as an application does at such a model's ends.
        delegate: With the kernels that LiteRT chooses (XNNPACK); without, the ones that the operators are defined by.

    Attributes:
        kept: Bytes of the inner tensors that are handed out for one sample; 0 without taps.
        coded: Names of the inputs and outputs that are codes and are handled as numbers.

    Raises:
        ModelRefusedError: LiteRT does not load it, or it has no such tensor.
    """

    reduced = False

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        taps: Sequence[str] = (),
        numbers: bool = False,
        delegate: bool = True,
    ) -> None:
        self._lock = threading.Lock()
        self.taps = tuple(taps)
        self.kept = 0
        try:
            self._load(path, threads, delegate=delegate)
            self._takes = Ends(self._interpreter.get_input_details(), numbers=numbers)
            self._gives = Ends(self._interpreter.get_output_details(), numbers=numbers)
            self._shapes = self._takes.shapes
            self.inputs = self._infos(path, self._takes)
            self.outputs = self._infos(path, self._gives)
            ends = zip((*self.inputs, *self.outputs), (*self._takes.coded, *self._gives.coded), strict=True)
            self.coded = tuple(info.name for info, is_coded in ends if is_coded)
            self._interpreter.allocate_tensors()
            if self.taps:
                self._find_taps(path)
        except MemoryError as error:
            raise ModelRefusedError("not enough memory to load the model", "memory") from error
        except ModelRefusedError:
            raise
        except Exception as error:  # its wrapper raises ValueError, RuntimeError and what pybind likes
            raise _refusal(error, path) from error

    def _load(self, path: Path, threads: int, *, delegate: bool) -> None:
        library = import_library()
        resolver = library.OpResolverType
        kind = resolver.AUTO if delegate else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it warns of the memory that keeping tensors takes
            self._interpreter = library.Interpreter(
                str(path),
                num_threads=threads,
                experimental_op_resolver_type=kind,
                experimental_preserve_all_tensors=bool(self.taps),
            )

    def _infos(self, path: Path, ends: Ends) -> tuple[TensorInfo, ...]:
        names = _names(path)
        return tuple(
            TensorInfo(names[place], dtype, shape)
            for place, dtype, shape in zip(ends.places, ends.dtypes, ends.declared, strict=True)
        )

    def _find_taps(self, path: Path) -> None:
        """Where the inner tensors lie, and how much keeping all of them takes."""
        known = {name: place for place, name in enumerate(_names(path))}
        lacking = [name for name in self.taps if name not in known]
        if lacking:
            raise ModelRefusedError(f"the model has no tensor {one_line(lacking[0], 80)!r}")
        self._tapped = [known[name] for name in self.taps]
        details = {each["index"]: each for each in self._interpreter.get_tensor_details()}
        absent = [name for name, place in zip(self.taps, self._tapped, strict=True) if place not in details]
        if absent:
            raise ModelRefusedError(f"LiteRT does not hand out the tensor {one_line(absent[0], 80)!r}")
        batch = max(1, self._shapes[0][0]) if self._shapes and self._shapes[0] else 1
        made = (details[place] for place in set(self._tapped))
        self.kept = (
            sum(int(np.prod(each["shape"])) * np.dtype(each["dtype"]).itemsize for each in made) // batch
        )
        self._written = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Runs once; see ``Runner.run``."""
        with self._lock:
            try:
                return self._run(feeds)
            except MemoryError as error:
                raise ModelRefusedError("not enough memory to run the model", "memory") from error
            except ModelRefusedError:
                raise
            except Exception as error:  # as above
                raise _refusal(error) from error

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        values = self._takes.stored([feeds[info.name] for info in self.inputs])
        shapes = [each.shape for each in values]
        if shapes != self._shapes:
            for place, shape in zip(self._takes.places, shapes, strict=True):
                self._interpreter.resize_tensor_input(place, list(shape), strict=True)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        if self.taps and not self._written:
            self._require_written(values)
            self._written = True
        self._invoke(values)
        found = self._gives.shown([self._interpreter.get_tensor(place) for place in self._gives.places])
        return found + [self._interpreter.get_tensor(place) for place in (self._tapped if self.taps else ())]

    def _invoke(self, values: Sequence[NDArray[Any]]) -> None:
        for place, value in zip(self._takes.places, values, strict=True):
            self._interpreter.set_tensor(place, value)
        self._interpreter.invoke()

    def _require_written(self, values: Sequence[NDArray[Any]]) -> None:
        """Sees to it that every tapped tensor is written while the model runs: a delegate may leave one as it was.

        Each is filled with a pattern before a run, and with another before the next; what comes out as it was filled in
        both was not written.

        Raises:
            ModelRefusedError: One is not.
        """
        self._invoke(values)  # sizes that are computed are known behind a run
        # Whole numbers are left alone: a tensor's shape, for one, is worked out before anything runs, and once.
        inner = [
            place
            for place in dict.fromkeys(self._tapped)
            if place not in self._takes.places and self._interpreter.get_tensor(place).dtype.name in _WATCHED
        ]
        untouched = set(inner)
        for seed in (0, 1):
            filled = {place: self._filled(place, seed) for place in inner}
            self._invoke(values)
            untouched &= {
                place
                for place, before in filled.items()
                if before.size and self._interpreter.get_tensor(place).tobytes() == before.tobytes()
            }
        if untouched:
            name = self.taps[self._tapped.index(min(untouched))]
            raise ModelRefusedError(f"LiteRT does not write the tensor {one_line(name, 80)!r}")

    def _filled(self, place: int, seed: int) -> NDArray[Any]:
        """Fills a tensor with a pattern, which is returned."""
        empty: NDArray[Any] = self._interpreter.get_tensor(place)
        random = np.random.default_rng((seed, place))
        pattern = random.integers(1, 100, empty.shape).astype(empty.dtype)
        self._interpreter.set_tensor(place, pattern)
        return pattern


def _names(path: Path) -> list[str]:
    """Names of the tensors by their number, as the reader of the format makes them unique."""
    from qgate.formats.elements import Mapped
    from qgate.formats.tflite.reader import read_names

    return read_names(path, Mapped(path))


def _refusal(error: Exception, path: Path | None = None) -> ModelRefusedError:
    text = str(error) if path is None else str(error).replace(str(path), path.name)
    short = any(sign in text for sign in _NO_MEMORY)
    message = one_line(text, 400).rstrip(". ") or type(error).__name__
    return ModelRefusedError(message, "memory" if short else "refused")
