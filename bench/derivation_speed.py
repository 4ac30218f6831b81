"""How fast codes are compared with their reference, against copying the same bytes in memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from integrity_rows import Row

from qgate.quant import blocks
from qgate.quant.constants import ConstantValue, Quantized
from qgate.quant.derivation import Derivation, derive
from qgate.quant.floats import derive_float

ROWS, COLUMNS = 4096, 8192
RUNS = 5
GOAL = 0.25


def speeds(scale: float) -> Iterator[Row]:
    """Rows with GB/s of reference and codes together, both memory-mapped, warm."""
    rows = max(ROWS // 4, int(ROWS * min(scale, 1.0)))
    with tempfile.TemporaryDirectory() as scratch:
        for index, case in enumerate(_cases(rows, Path(scratch))):
            reference = np.memmap(Path(scratch) / "reference", np.float32, "r", shape=(rows, COLUMNS))
            yield _row(*case, reference, goal=GOAL if index == 0 else None)


def _row(
    name: str,
    held: ConstantValue,
    judge: Callable[..., Derivation],
    reference: np.ndarray,
    *,
    goal: float | None,
) -> Row:
    if judge(reference, held).verdict != "derived":
        raise ValueError(f"{name} is not derived")
    size = reference.nbytes + held.stored().nbytes
    copy = _best(lambda: (np.copyto(*_pair(reference)), np.copyto(*_pair(held.stored()))))
    everywhere = _best(lambda: judge(reference, held))
    single = _alone(lambda: judge(reference, held))
    return Row(
        f"derivation of {name}, {size / 1e6:.0f} MB memory-mapped, all cores",
        f"{size / everywhere / 1e9:.2f} GB/s, {copy / everywhere:.2f} of a memory copy "
        f"({size / copy / 1e9:.2f} GB/s); one core {size / single / 1e9:.2f} GB/s",
        f"{goal} of a memory copy" if goal else "",
        copy / everywhere >= goal if goal else None,
    )


_TARGETS: dict[int, np.ndarray] = {}


def _pair(source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A buffer that was written before, and the source."""
    key = source.nbytes
    if key not in _TARGETS or _TARGETS[key].dtype != source.dtype or _TARGETS[key].shape != source.shape:
        _TARGETS[key] = np.ones(source.shape, source.dtype)
    return _TARGETS[key], source


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _alone(work: Callable[[], object]) -> float:
    cores = blocks._cores
    blocks._cores = lambda: 1
    try:
        return _best(work)
    finally:
        blocks._cores = cores


def _cases(rows: int, folder: Path) -> Iterator[tuple[str, ConstantValue, Callable[..., object]]]:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((rows, COLUMNS), dtype=np.float32) * 0.02).astype(np.float32)
    weight.tofile(folder / "reference")
    step = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    codes = np.rint(weight / step[:, None]).astype(np.int8)
    yield "int8 per channel", _mapped(folder, codes, "int8", step, 0, 0), derive
    whole = np.float32(np.abs(weight).max() / 127)
    codes = (np.rint(weight / whole) + 128).astype(np.uint8)
    yield "uint8 per tensor", _mapped(folder, codes, "uint8", whole, None, 0, np.uint8(128)), derive
    step = (np.abs(weight.reshape(rows, -1, 32)).max(axis=2) / 7).astype(np.float32)
    codes = np.rint(weight.reshape(rows, -1, 32) / step[:, :, None]).astype(np.int8).reshape(weight.shape)
    yield (
        "int4 in blocks of 32 (a byte each once unpacked)",
        _mapped(folder, codes, "int4", step, 1, 32),
        derive,
    )
    step = (np.abs(weight).max(axis=1) / 32767).astype(np.float32)
    codes = np.rint(weight / step[:, None]).astype(np.int16)
    yield "int16 per channel", _mapped(folder, codes, "int16", step, 0, 0), derive
    weight.astype(np.float16).tofile(folder / "half")
    half = np.memmap(folder / "half", np.float16, "r", shape=weight.shape)
    yield "float16", ConstantValue("w", "float16", weight.shape, lambda: half, 16), derive_float
    short = weight.astype(ml_dtypes.bfloat16).astype(np.float32)
    yield "bfloat16 (widened)", ConstantValue("w", "bfloat16", weight.shape, lambda: short, 16), derive_float


def _mapped(
    folder: Path,
    codes: np.ndarray,
    dtype: str,
    scale: np.ndarray,
    axis: int | None,
    block: int,
    zero: object = None,
) -> ConstantValue:
    path = folder / f"{dtype}-{axis}-{block}"
    codes.tofile(path)
    stored = np.memmap(path, codes.dtype, "r", shape=codes.shape)
    points = None if zero is None else np.asarray(zero)
    quantized = Quantized(dtype, np.asarray(scale), points, axis, block, "s", "z", "float")
    bits = {"int4": 4, "int16": 16}.get(dtype, 8)
    return ConstantValue("w", dtype, codes.shape, lambda: stored, bits, quantized)
