"""Measurements against a baseline's, in both directions: what got worse, what is gone, what is new. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qgate.baseline.record import Entry, is_comparable
from qgate.records import Limit, Measurement
from qgate.report.schema import Delta

# Beyond this an SQNR tells rounding of the float32 arithmetic itself apart, and nothing of the model.
_SQNR_CEILING_DB = 120.0
_IN_DB = ("sqnr_db", "worst_sample_db", "signal_db", "batch_effect_db")
_SAMPLES = 2.0


@dataclass(frozen=True)
class Direction:
    """How a kind of measurement may move.

    Args:
        names: What the measurement's name ends with.
        better: +1 where higher is better, -1 where lower is.
        absolute: Parameter of TRC102 with the absolute allowance; empty for none.
        relative: Parameter with the allowance as a share of the baseline's value; empty for none.
        of_samples: The value is a share of samples, so two of them are always allowed.
        counted: The value counts samples; ``absolute`` is a share of them.
    """

    names: re.Pattern[str]
    better: int
    absolute: str = ""
    relative: str = ""
    of_samples: bool = False
    counted: bool = False

    def worsening(self, entry: Entry, now: float) -> float:
        """How much worse than the baseline's a value is; positive is worse."""
        old, new = number_of(entry.value), now
        if entry.name.endswith(_IN_DB):
            old, new = min(old, _SQNR_CEILING_DB), min(new, _SQNR_CEILING_DB)
        if math.isnan(new) or math.isnan(old):
            return math.inf if math.isnan(new) and not math.isnan(old) else 0.0
        return 0.0 if old == new else (old - new) * self.better

    def allowance(self, entry: Entry, n: int | None, limits: Mapping[str, Limit]) -> float:
        """How much worse is allowed, for ``n`` samples (the baseline's own number if None)."""
        samples = n or entry.n or 0
        absolute = float(limits[self.absolute].value) if self.absolute else 0.0
        relative = float(limits[self.relative].value) if self.relative else 0.0
        old = abs(number_of(entry.value))
        allowed = max(absolute * samples if self.counted else absolute, relative * old if old > 0 else 0.0)
        if self.counted:
            return max(allowed, _SAMPLES)
        return max(allowed, _SAMPLES / samples) if self.of_samples and samples else allowed


def _ending(words: str) -> re.Pattern[str]:
    return re.compile(rf"(?:.*[._])?(?:{words})")


DIRECTIONS = (
    Direction(_ending("sqnr_db"), +1, "sqnr_db"),
    Direction(_ending("cosine"), +1, "cosine"),
    Direction(_ending(r"top1_agreement|agreement|output\.same_boxes"), +1, "agreement", of_samples=True),
    Direction(
        _ending(r"coverage|derived_share|quant\.(?:activation_)?share|alignment\.(?:weights|macs)"),
        +1,
        "coverage",
    ),
    Direction(
        # Not mean_relative_error: it divides by what is nearly zero, and grows where every other figure improves.
        _ending("relative_l2|rmse_steps"),
        -1,
        "error_abs",
        "error_ratio",
    ),
    Direction(_ending("kl_mean|kl_p99"), -1, "kl_abs", "error_ratio"),
    Direction(_ending("max_abs|max_abs_steps|abs_error_p99"), -1, "error_abs", "extreme_ratio"),
    Direction(_ending(r"worst_sample_db|edge\.signal_db|batch_effect_db"), +1, "worst_db"),
    Direction(_ending("top_change_p01"), +1, "distribution"),
    Direction(
        re.compile(r"(?:output|confidence)\.(?:ks|js|wasserstein|psi)"), -1, "distribution", "extreme_ratio"
    ),
    Direction(_ending("kl_max"), -1, "kl_abs", "extreme_ratio"),
    Direction(_ending("clipped_share|differing_share"), -1, "share"),
    Direction(
        _ending(r"class_recall_drop|slice_drop|metric_drop|task\.[a-z0-9_]+_drop"),
        -1,
        "metric",
        of_samples=True,
    ),
    Direction(_ending("flips_to_wrong"), -1, "flips", counted=True),
    Direction(_ending(r"nonfinite_candidate|nonfinite|edge\.shape_mismatch|outsiders|unread_nodes"), -1),
    Direction(_ending(r"runtime\.lsb"), -1, "", "extreme_ratio"),
    Direction(_ending(r"bytes|size_ratio|quant\.bits"), -1, "", "size"),
)


def direction_of(name: str) -> Direction | None:
    """How a measurement of that name may move; None where neither way is better."""
    return next((d for d in DIRECTIONS if d.names.fullmatch(name)), None)


def compare(
    entries: Iterable[Entry], measurements: Iterable[Measurement], limits: Mapping[str, Limit]
) -> tuple[Delta, ...]:
    """Every difference to the baseline, and every measurement of an output even if it is the same.

    Args:
        entries: The baseline's measurements.
        measurements: This run's; those that are not deterministic are left out.
        limits: Allowances of TRC102 in force.
    """
    old = {entry.key: entry for entry in entries}
    new = {(m.name, str(m.at)): m for m in measurements if is_comparable(m)}
    deltas = [_delta(old.get(key), new.get(key), limits) for key in sorted({*old, *new})]
    return tuple(d for d in deltas if d.worse or d.gone or d.new or d.baseline != d.current or _headline(d))


def _headline(delta: Delta) -> bool:
    return delta.at == "" or delta.at.startswith("output ")


def _delta(entry: Entry | None, now: Measurement | None, limits: Mapping[str, Limit]) -> Delta:
    if entry is None:
        if now is None:
            raise ValueError("a delta has at least one side")
        return Delta(name=now.name, at=str(now.at), baseline=None, current=now.value, unit=now.unit, new=True)
    common = {"name": entry.name, "at": str(entry.at), "baseline": entry.value, "unit": entry.unit}
    if now is None:
        return Delta.model_validate({**common, "current": None, "gone": True})
    direction = direction_of(entry.name)
    amount = direction.worsening(entry, now.number) if direction else 0.0
    allowed = direction.allowance(entry, now.n, limits) if direction else 0.0
    # The allowance is a decimal number, the difference a sum of binary ones: equal must not count as more.
    worse = amount > allowed and not math.isclose(amount, allowed, rel_tol=1e-9)
    return Delta.model_validate({**common, "current": now.value, "worse": worse})


def number_of(value: object) -> float:
    """A measurement's value as a number; NaN for words and for none."""
    return float(value) if isinstance(value, bool | int | float) else math.nan
