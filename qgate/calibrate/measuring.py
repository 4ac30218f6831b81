"""Measures one pair again and again, and its reference quantized by plain recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qgate.errors import QgateError
from qgate.measure.pair import measure_pair
from qgate.measure.part import LEAST
from qgate.measure.request import Part, Tap
from qgate.measure.result import parse_answer
from qgate.records import Measurement
from qgate.runtimes.recipes import calibrated_tensors, write_recipe
from qgate.sandbox.launch import run_child
from qgate.verify.pair import Pair
from qgate.verify.ready import ready

if TYPE_CHECKING:
    from qgate.measure.request import PairRequest

Values = Mapping[tuple[str, str], Measurement]
Ranges = Literal["none", "others", "same"]
_STATIC = ("static per channel", "static per tensor")
_RECIPES = {"int8": _STATIC, "fp16": ("fp16",)}
"""ONNX Runtime's plain recipes by scheme."""


@dataclass(frozen=True)
class Yardstick:
    """The reference quantized by a plain recipe, or why it is not.

    Args:
        recipe: Its name.
        values: What was measured of it.
        reason: Why nothing was.
        samples: How many it was judged on.
        ranges: Which samples its ranges were taken from: ``others`` than those, the ``same``, or ``none`` where it has none.
    """

    recipe: str
    values: Values = field(default_factory=dict)
    reason: str = ""
    samples: int = 0
    ranges: Ranges = "none"


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Args:
        values: Of the candidate.
        noise: By measurement, how much it moves with threads, batches and repeats.
        yardsticks: Plain recipes.
        samples: How many there were.
        scheme: The candidate's.
    """

    values: Values
    noise: Mapping[tuple[str, str], float]
    yardsticks: tuple[Yardstick, ...]
    samples: int
    scheme: str | None

    @property
    def yardstick(self) -> Yardstick | None:
        """The recipe that keeps the most."""
        made = [each for each in self.yardsticks if each.values]
        return max(made, key=lambda each: lowest(each.values, "output.sqnr_db") or -math.inf, default=None)


def lowest(values: Values, name: str) -> float | None:
    """The smallest finite value of that name."""
    found = [m.number for (own, _), m in values.items() if own == name and math.isfinite(m.number)]
    return min(found, default=None)


def measure_again(
    pair: Pair, staging: Path, told: Callable[[str], None] = lambda _: None, *, repeats: int = 2
) -> Calibration:
    """Measures a pair under other circumstances, and the yardsticks beside it.

    Args:
        pair: The pair; its models are taken to be trusted, because the recipes read the reference here.
        staging: An empty folder that the sandboxed child can read.
        told: Called with what is being done.
        repeats: How often it is measured in the same way.

    Raises:
        QgateError: The pair cannot be read or run.
    """
    found = ready(pair, staging)
    scheme = found.inspection.scheme.name
    plain = replace(found.request, joined=None, layers=(), taps=(), edges=False)
    told("the candidate")
    result = measure_pair(plain)
    first = _named(result.measurements)
    noise: dict[tuple[str, str], float] = {}
    ways = [("again", plain)] * (repeats - 1)
    ways += [
        ("with one thread", replace(plain, threads=1)),
        ("sample by sample", replace(plain, dynamic=True)),
    ]
    for what, other in ways:
        told(f"the candidate {what}")
        for key, measurement in _values(other).items():
            if key in first:
                moved = abs(measurement.number - first[key].number)
                noise[key] = max(noise.get(key, 0.0), moved if math.isfinite(moved) else 0.0)
    yardsticks = tuple(_yardsticks(plain, scheme, result.data.samples, staging, told))
    return Calibration(first, noise, yardsticks, result.data.samples, scheme)


def _values(request: PairRequest) -> dict[tuple[str, str], Measurement]:
    return _named(measure_pair(request).measurements)


def _named(measurements: Iterable[Measurement]) -> dict[tuple[str, str], Measurement]:
    return {(m.name, str(m.at)): m for m in measurements if m.value is not None}


def _yardsticks(
    request: PairRequest, scheme: str | None, samples: int, staging: Path, told: Callable[[str], None]
) -> Iterator[Yardstick]:
    recipes = ("dynamic",) if request.dynamic else _RECIPES.get(scheme or "", ())
    if not recipes or request.reference is None or request.forms:
        what = "no ONNX model" if request.forms else scheme or "not quantized"
        reason = f"ONNX Runtime's plain recipes are for int8 and fp16 models of ONNX, the candidate is {what}"
        yield Yardstick("none", reason=reason)
        return
    ranges: dict[str, tuple[float, float]] = {}
    calibration, others = _apart(request, samples)
    for recipe in recipes:
        told(f"the reference, quantized by ONNX Runtime ({recipe})")
        target = staging / f"yardstick_{recipe.replace(' ', '_')}.onnx"
        try:
            if recipe in _STATIC and not ranges:
                ranges = _ranges(calibration)
            write_recipe(recipe, request.reference, target, ranges)
            target.chmod(0o644)
            judged = others if recipe in _STATIC else request
            other = replace(judged, candidate=target, dynamic=recipe == "dynamic", io_map={}, io_types={})
            found = measure_pair(other)
            ranges_of: Ranges = (
                "none" if recipe not in _STATIC else "same" if calibration == judged else "others"
            )
            yield Yardstick(recipe, _named(found.measurements), "", found.data.samples, ranges_of)
        except (QgateError, OSError, ValueError) as error:
            yield Yardstick(recipe, reason=str(error)[:300])


def _apart(request: PairRequest, samples: int) -> tuple[PairRequest, PairRequest]:
    """The samples that ranges are taken from, and others that they are judged on; all and all where there are too few.

    What was calibrated on the very samples that it is judged on clips nothing of them, and would be too good a measure.
    """
    if request.inputs is None:
        return replace(request, seed=request.seed + 1), request
    if samples < LEAST:
        return request, request
    one, other = Part(samples, "calibration"), Part(samples, "others")
    return replace(request, part=one), replace(request, part=other)


def _ranges(request: PairRequest) -> dict[str, tuple[float, float]]:
    """The range of each activation of the reference on the data, measured in the sandbox."""
    assert request.reference is not None  # noqa: S101
    names = calibrated_tensors(request.reference)
    asked = replace(
        request, taps=tuple(Tap(name, 0.0, 0.0, name) for name in names), candidate=request.reference
    )
    where = request.label("reference")
    asked = replace(asked, io_map={}, io_types={}, task="none", labels=None, slices=None, code={})
    answer = parse_answer(run_child(asked.to_json(), asked.limits, where=where).payload, where)
    if answer.result is None or answer.result.untapped or len(answer.result.taps) != len(names):
        raise ValueError("the ranges of the reference's activations could not be measured")
    return {
        name: (min(tap.minimum, 0.0), max(tap.maximum, 0.0))
        for name, tap in zip(names, answer.result.taps, strict=True)
    }
