"""What the process of one runtime does with a request; see ``request``."""

from __future__ import annotations

import codecs
import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import DataError
from qgate.measure.deployed.arrays import DTYPES, MAX_BYTES, pack
from qgate.measure.deployed.request import RuntimeRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LIBRARIES = (
    *("numpy", "numpy.random", "numpy.char", "numpy.ma", "zipfile", "zlib"),
    *("qgate.measure.data", "qgate.measure.samples", "qgate.measure.side", "qgate.measure.feed"),
    *("qgate.measure.load", "qgate.measure.generate"),
)
_CODECS = ("unicode_escape", "ascii", "latin-1", "cp437", "utf-8")

Told = list[tuple[str, str, "NDArray[Any]"]]


def import_common_libraries() -> None:
    """Imports what every request needs, because afterwards nothing may be readable any more."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    for name in _CODECS:
        codecs.lookup(name)


def prepare(request: str) -> list[Path]:
    """Imports the runtime; returns the files that the answer reads."""
    from qgate.measure.answer import prepare as prepare_pair
    from qgate.runtimes.load import import_runtime

    asked = RuntimeRequest.from_json(request)
    import_runtime(asked.runtime)
    files = [] if asked.pair is None else prepare_pair(asked.pair.to_json())
    return [*asked.files(), *files]


def answer(request: str, progress: Callable[[int, int], None]) -> bytes:
    """The result, or the error, as ``arrays.pack`` writes it."""
    del progress  # a handful of samples
    from qgate.measure.side import SideError
    from qgate.runtimes.base import ModelRefusedError

    asked = RuntimeRequest.from_json(request)
    try:
        if asked.task == "judge":
            return _judge(asked)
        return _materialise(asked) if asked.task == "materialise" else _run(asked)
    except SideError as error:
        return _failed(error.cause, error.what, error.role)
    except ModelRefusedError as error:
        return _failed(error.cause, error.what, "candidate")
    except DataError as error:
        return _failed("data", error.what)
    except MemoryError:
        return _failed("memory", "")


def _failed(kind: str, what: str, role: str = "") -> bytes:
    return pack({"error": {"kind": kind, "what": what[:4000], "role": role}})


def _judge(asked: RuntimeRequest) -> bytes:
    from qgate.runtimes.tensorrt_rtx import judge

    return pack({"judgement": asdict(judge(asked.model, asked.shapes))})


def _materialise(asked: RuntimeRequest) -> bytes:
    """Both models in ONNX Runtime on the first samples: inputs, outputs, and what feeds which input."""
    from qgate.measure.load import load_pair
    from qgate.measure.open_data import open_data
    from qgate.runtimes.load import version_of

    if asked.pair is None:
        raise AssertionError("a pair is materialised")
    given = asked.pair.inputs
    label, images = asked.pair.label("inputs"), asked.pair.images
    with nullcontext() if given is None else open_data(given, label, images) as file:
        pair = load_pair(asked.pair, file, threads=1)
        count = min(asked.samples, pair.samples.count)
        size = sum(values.nbytes for values in pair.samples.first().values())
        count = max(1, min(count, MAX_BYTES // 4 // max(size, 1)))
        chunk = next(pair.samples.chunks(count))
    told: Told = [("input", name, values) for name, values in chunk.items()]
    names: dict[str, str] = {}
    for role, side in pair.sides.items():
        outputs, _ = side.run(chunk, count)
        told += _named(role, [info.name for info in side.runner.outputs], outputs)
        if role == "candidate":
            names = {feed.name: feed.array for feed in side.plan.inputs}
    kept = list(_within(told))
    left = len(told) - len(kept)
    return pack(
        {"names": names, "samples": count, "left_out": left, "version": version_of("onnxruntime")}, kept
    )


def _run(asked: RuntimeRequest) -> bytes:
    """A model in one runtime on inputs that are there."""
    from qgate.measure.feed import plan_feeds
    from qgate.measure.open_data import open_data
    from qgate.measure.samples import NpzSamples
    from qgate.measure.side import Side
    from qgate.runtimes.load import load_runner, version_of

    if asked.inputs is None:
        raise AssertionError("a run has inputs")
    runner = load_runner(asked.runtime, asked.model)
    with open_data(asked.inputs) as file:
        samples = NpzSamples(file, list(dict.fromkeys(asked.names.values())))
        plan = plan_feeds(runner.inputs, samples.arrays, asked.names, asked.types)
        count = min(asked.samples, samples.count)
        chunk = next(samples.chunks(count))
    side = Side("candidate", runner, plan, single=asked.single)
    outputs, _ = side.run(chunk, count)
    told = _named("candidate", [info.name for info in runner.outputs], outputs)
    for name in asked.taps:
        told += _tapped(asked, name, (side, outputs), (chunk, count))
    kept = list(_within(told))
    spent = getattr(runner, "seconds", None)
    step = count if side.batched and plan.batch is None else (plan.batch or 1)
    seconds = None if spent is None or asked.taps else float(spent(plan.feeds(chunk, 0, step)))
    about = {"samples": count, "left_out": len(told) - len(kept), "version": version_of(asked.runtime)}
    return pack({**about, "seconds": seconds}, kept)


def _tapped(asked: RuntimeRequest, name: str, plain: tuple[Any, Any], fed: tuple[Any, int]) -> Told:
    """One inner tensor of a model that is otherwise as it was; nothing where asking for it changes the answer."""
    from qgate.measure.side import Side, SideError, identical
    from qgate.runtimes.base import ModelRefusedError
    from qgate.runtimes.load import load_runner

    side, usual = plain
    found: dict[str, NDArray[Any]] = {}
    try:
        runner = load_runner(asked.runtime, asked.model, taps=(name,))
        if not runner.taps:
            return []
        watching = Side("candidate", runner, side.plan, single=asked.single, watched=frozenset(runner.taps))
        outputs, _ = watching.run(*fed, lambda tensor, values: found.update({tensor: values}))
    except (ModelRefusedError, SideError):
        return []
    # ONNX Runtime keeps codes apart from floats, so that what is tapped is no longer fused: its rounding may differ.
    if asked.runtime != "onnxruntime" and not identical(outputs, usual):
        return []
    return [("tap", name, values) for name, values in found.items()]


def _named(kind: str, names: Sequence[str], outputs: Sequence[Any]) -> Told:
    """Outputs that hold numbers; those of several shapes one behind another."""
    import numpy as np

    found: Told = []
    for name, values in zip(names, outputs, strict=True):
        if isinstance(values, list):
            values = np.concatenate([np.asarray(each).reshape(-1) for each in values])  # noqa: PLW2901
        if isinstance(values, np.ndarray) and values.dtype.name in DTYPES:
            found.append((kind, name, values))
    return found


def _within(told: Told) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """The first arrays that an answer has room for, of the types that it may hold."""
    room = MAX_BYTES
    for kind, name, values in told:
        room -= values.nbytes
        if room < 0:
            return
        if values.dtype.name in DTYPES:
            yield kind, name, values
