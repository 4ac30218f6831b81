"""Damage to numbers: flipped bits, edited codes and scales, found and located; honest rounding, let through.

Damage is planted in the constants of a model that was read, and the whole pair goes the way that every pair
goes: static inspection, rules at the profile ``balanced``. A flip is located where a blocking finding names
the tensor, the index of the element in the file's own layout and the flipped bit.
``python bench/integrity_derivation.py [SCALE]`` prints the rows by themselves.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from derivation_damage import Damage, flips, many_flips, scale_edits, swaps
from derivation_subjects import FLIPPED, LEGITIMATE, REAL, Subject, subject, with_values
from integrity_rows import Row

from qgate.judge import judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Finding, Severity

FLIPS, MULTIPLE, SWAPS, SCALES = 10_200, 540, 280, 310
OF_COVERAGE = ("QNT1", "CST", "RNG102", "RNG103")
"""Rules that judge how much is quantized and how well, which a recipe's choice decides and no damage."""


@dataclass
class Tally:
    """Cases by outcome."""

    cases: int = 0
    found: int = 0
    located: int = 0
    ambiguous: int = 0
    misses: tuple[str, ...] = ()

    def add(self, other: Tally) -> None:
        """Adds the cases of another."""
        self.cases += other.cases
        self.found += other.found
        self.located += other.located
        self.ambiguous += other.ambiguous
        self.misses += other.misses


def run(scale: float) -> Iterator[Row]:
    """The rows of the section."""
    jobs = [(model, recipe) for model, recipes in FLIPPED.items() for recipe in recipes]
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(_damaged, jobs, range(len(jobs)), [scale / len(jobs)] * len(jobs)))
        honest = list(pool.map(_honest, *zip(*[(m, r) for m in REAL for r in LEGITIMATE], strict=True)))
    yield from _flip_rows([flipped for flipped, _ in parts])
    yield from _edit_rows([edited for _, edited in parts])
    made = [(name, blocking) for name, blocking in honest if blocking is not None]
    blocked = [f"{name}: {blocking[0]}" for name, blocking in made if blocking]
    yield Row(
        "AdaRound, GPTQ, AWQ, SmoothQuant, equalisation, bias correction, clipped scales, HQQ on real weights: falsely "
        "blocked for lineage or structure",
        f"{len(blocked)} of {len(made)}",
        "0 of at least 40",
        not blocked and len(made) >= 40,
        misses=tuple(blocked),
    )
    left_out = tuple(name for name, blocking in honest if blocking is None)
    yield Row(
        "such files that their tool could not make of these models", f"{len(left_out)}", misses=left_out
    )


def _flip_rows(parts: Sequence[dict[str, Tally]]) -> Iterator[Row]:
    total = Tally()
    kinds: dict[str, Tally] = {}
    for part in parts:
        for kind, tally in part.items():
            kinds.setdefault(kind, Tally()).add(tally)
            total.add(tally)
    real = total.cases - total.ambiguous
    yield Row(
        "single flipped bits in tensors of two elements and more: found and located to tensor, element and bit",
        f"{total.located} of {real}",
        "all",
        total.located == real,
        misses=total.misses,
    )
    yield Row("of them found", f"{total.found} of {real}", "all", total.found == real)
    yield Row(
        "flips besides, in padding that nothing reads or to the other code of a tie", f"{total.ambiguous}"
    )
    for kind, tally in sorted(kinds.items()):
        besides = f", {tally.ambiguous} besides" if tally.ambiguous else ""
        yield Row(f"located: {kind}", f"{tally.located} of {tally.cases - tally.ambiguous}{besides}")


def _edit_rows(parts: Sequence[dict[str, Tally]]) -> Iterator[Row]:
    words = {
        "many": "2 to 64 flipped bits: found", "swap": "exchanged elements and channels: found",
        "scale": "edited scales of weights: found",
    }  # fmt: skip
    for kind, what in words.items():
        tally = Tally()
        for part in parts:
            tally.add(part.get(kind, Tally()))
        real = tally.cases - tally.ambiguous
        yield Row(what, f"{tally.found} of {real}", "all", tally.found == real, misses=tally.misses)
        yield Row(f"{what.split(':')[0]}: tensor named", f"{tally.located} of {real}")


def findings(held: Subject, changed: dict[str, np.ndarray]) -> list[Finding]:
    """What blocks a damaged candidate that does not block the candidate."""
    found = inspect_pair(held.reference, with_values(held.candidate, changed), Interface())
    limits = resolve(None, None, "balanced", found.scheme.name)
    said = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    return [f for f in said if f.severity is Severity.ERROR and not f.rule.startswith(OF_COVERAGE)]


def _damaged(job: tuple[str, str], number: int, share: float) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """All damage to one candidate: flips by kind of tensor, edits by kind of edit."""
    rng = np.random.default_rng(number)
    with tempfile.TemporaryDirectory() as scratch:
        held = subject(*job, Path(scratch))
        clean = findings(held, {})
        if clean:
            raise ValueError(f"{held.name} is blocked as it stands: {clean[0].message}")
        flipped: dict[str, Tally] = {}
        for batch in flips(held, round(FLIPS * share), rng):
            _judge_flips(held, batch, flipped)
        edited: dict[str, Tally] = {}
        for kind, cases in (
            ("many", many_flips(held, max(1, round(MULTIPLE * share)), rng)),
            ("swap", swaps(held, max(1, round(SWAPS * share)), rng)),
            ("scale", scale_edits(held, max(1, round(SCALES * share)), rng)),
        ):
            tally = edited.setdefault(kind, Tally())
            for damage in cases:
                tally.add(_judge_edit(held, damage))
    return flipped, edited


def _judge_flips(held: Subject, batch: Sequence[Damage], tallies: dict[str, Tally]) -> None:
    """Single flips in different tensors of one file; each must be located by a finding of its own."""
    said = findings(held, {damage.tensor: damage.values for damage in batch})
    for damage in batch:
        tally = tallies.setdefault(damage.kind, Tally())
        tally.cases += 1
        own = [f for f in said if f.at.tensor == damage.tensor]
        at = [f for f in own if f.at.index == damage.index and _mask(f) == damage.mask]
        tally.found += bool(own)
        tally.located += bool(at)
        if not own and damage.admissible(held):
            tally.ambiguous += 1
        elif not at:
            tally.misses += (f"{held.name} {damage.tensor} {damage.index} mask {damage.mask:#x}",)


def _mask(finding: Finding) -> object:
    listed = finding.evidence.get("outsiders") or ({},)
    return listed[0].get("xor")


def _judge_edit(held: Subject, damage: Damage) -> Tally:
    said = findings(held, {damage.tensor: damage.values})
    names = {damage.tensor, *damage.named}
    located = any(f.at.tensor in names or f.evidence.get("codes") in names for f in said)
    if not said and damage.admissible(held):
        return Tally(1, ambiguous=1)
    misses = () if said else (f"{held.name} {damage.kind} {damage.tensor}",)
    return Tally(1, bool(said), located, misses=misses)


def _honest(model: str, recipe: str) -> tuple[str, list[str] | None]:
    """What blocks an honest candidate; None where the tool cannot make it or has nothing to do on this model."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            held = subject(model, recipe, Path(scratch))
        except Exception as error:
            # Any tool's own failure: onnxruntime raises classes of its own, and more than one.
            return f"{model}/{recipe}: {type(error).__name__}: {str(error)[:80]}", None
        if not held.weights:
            return f"{model}/{recipe}: nothing to quantize", None
        return held.name, [f"{f.rule} {f.message}" for f in findings(held, {})]


def main() -> None:
    """Prints the rows."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    started = time.perf_counter()
    for row in run(scale):
        mark = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what}: {row.value} {f'({row.goal}) {mark}' if row.goal else ''}")
        for miss in row.misses[:12]:
            print(f"    {miss}")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
