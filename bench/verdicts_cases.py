"""One case of ``bench/verdicts.py``: a problem, a tool, perhaps damage, the oracle's truth, and what qgate says."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from verdicts_damage import CALIBRATION, DAMAGES, Damage, edit
from verdicts_jobs import Job
from verdicts_models import KINDS, Problem
from verdicts_nets import write_model
from verdicts_oracle import Oracle, Truth
from verdicts_runs import Emulated, figures, judged, verdicts, verified
from verdicts_tools import Tool, tools_here

from qgate.policy.thresholds import resolve
from qgate.verifier.adhoc import AdHoc

QUICK = 6_000
"""Samples of the oracle's while a strength is sought; what is told is measured on all of them."""

ATTEMPTS = 3
"""Kinds of damage that are tried until one does damage."""

RARE = "torchao PT2E, dynamo"
"""Takes half a minute: every third time that it is its turn."""


@dataclass
class Outcome:
    """One case.

    Args:
        number: Its own; even ones are honest.
        name: What was done.
        honest: Whether it was quantized honestly.
        tool: Which quantized it; ``kind`` of problem, ``damage`` and ``strength`` likewise.
        scheme: As qgate judged it.
        truth: What the oracle says; for examples what is known of them.
        runs: By machine and profile: verdict, that of behaviour alone, what blocks.
        moved: By machine: measurements that are not bit for bit what they were on the first.
        seconds: What the first verification took.
        problem: Why there is no verdict: the tool does not take the model.
    """

    number: int
    name: str
    honest: bool
    tool: str = ""
    kind: str = ""
    damage: str = ""
    strength: float = 0.0
    scheme: str = ""
    truth: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""

    @property
    def first(self) -> dict[str, dict[str, Any]]:
        """What was said on the first machine."""
        return next(iter(self.runs.values()))

    @property
    def flips(self) -> list[str]:
        """Machines that gave another verdict."""
        base = verdicts(self.first)
        return [name for name, told in self.runs.items() if verdicts(told) != base]


@dataclass(frozen=True)
class Machine:
    """As what a pair is verified: with so many threads, or emulated."""

    name: str
    threads: int | None = None
    emulated: Emulated | None = None


@lru_cache(maxsize=1)
def _problem(seed: int, kind: str, marked: bool) -> Problem:
    return Problem(seed, kind, marked)


def severity(truth: dict[str, Any], profile: str, scheme: str) -> float:
    """The truth as a multiple of what the profile allows: of the metric, a class or a slice; above 1 is damage."""
    limits = resolve(None, None, profile, scheme or None)

    def over(value: float, rule: str) -> float:
        name = "max_error_growth" if truth["metric"] == "mae" else "max_drop"
        return value / float(limits[rule][name].value)

    classes = truth["worst_class"] / float(limits["BEH103"]["max_drop"].value)
    return max(over(truth["worse"], "BEH101"), over(truth["worst_slice"], "BEH104"), classes)


def honest_tool(pair: int, kinds: tuple[str, ...] = KINDS) -> Tool:
    """The tool whose turn it is, of those that take one of the kinds."""
    tools = [each for each in tools_here() if not each.kinds or set(each.kinds) & set(kinds)]
    turn, place = divmod(pair, len(tools))
    tool = tools[place]
    if tool.name == RARE and turn % 3:
        return next(each for each in tools if each.torch and each.name != RARE)
    return tool


def kind_of(pair: int, tool: Tool, kinds: tuple[str, ...] = KINDS) -> str:
    """The kind of problem whose turn it is, as far as the tool takes it."""
    wanted, own = kinds[pair % len(kinds)], [each for each in tool.kinds if each in kinds]
    return wanted if not tool.kinds or wanted in own else own[pair % len(own)]


def damage_of(pair: int, kind: str, attempt: int) -> tuple[Damage, Tool]:
    """The damage whose turn it is, and the tool that it goes with; the next ones where it did none at any strength."""
    own = [each for each in DAMAGES if not each.kinds or kind in each.kinds]
    damage = own[(pair // len(KINDS) + pair + attempt) % len(own)]
    tools = [
        t for t in tools_here() if t.name != RARE and t.scheme != "int4" and (not t.kinds or kind in t.kinds)
    ]
    if damage.file is not None:
        tools = [t for t in tools if "QDQ" in t.name and "16-bit" not in t.name]
    elif damage.calibration is not None:
        tools = [t for t in tools if t.calibrates and (t.scales or not damage.scales)]
    return damage, tools[(3 * pair + 1) % len(tools)]


def make(number: int, folder: Path, kinds: tuple[str, ...] = KINDS) -> tuple[Outcome, AdHoc, Oracle, Truth]:
    """Builds a case: trains, quantizes, damages until the oracle notices, and writes what qgate is given."""
    pair, honest = number // 2, number % 2 == 0
    tool = honest_tool(pair, kinds)
    kind = kind_of(pair, tool, kinds)
    problem = _problem(pair + 1, kind, pair % 3 == 0 or tool.scheme == "int4")
    net, reference, candidate = problem.net, folder / "reference.onnx", folder / "candidate.onnx"
    source = write_model(net, folder / "source.onnx")
    write_model(net, reference)
    oracle = Oracle(problem, reference)
    outcome = Outcome(number, "", honest, tool.name, kind)
    if honest:
        tool.make(Job(net, source, candidate, problem.draw(CALIBRATION)[0], 1.0, reference, net))
        truth = oracle.truth(candidate)
    else:
        for attempt in range(ATTEMPTS):
            damage, tool = damage_of(pair, kind, attempt)
            outcome.tool, outcome.damage = tool.name, damage.name
            truth = _damaged(outcome, problem, damage, tool, oracle, folder)
            if _of(truth, problem, "balanced", tool.scheme) > 1:
                break
    outcome.name = f"{kind}, {outcome.tool}" + (
        f", {outcome.damage} {outcome.strength:g}" if not honest else ""
    )
    return outcome, _asked(problem, folder), oracle, truth


def _damaged(
    outcome: Outcome, problem: Problem, damage: Damage, tool: Tool, oracle: Oracle, folder: Path
) -> Truth:
    """Climbs the ladder of a damage until the oracle notices; the truth of the last candidate."""
    number, net, source = outcome.number, problem.net, write_model(problem.net, folder / "source.onnx")
    candidate = folder / "candidate.onnx"
    calibration, scale = problem.draw(CALIBRATION)[0], 1.0
    first = int(np.random.default_rng([number, 5]).integers(0, min(3, len(damage.ladder))))
    for strength in damage.ladder[first:]:
        chosen, changed = np.random.default_rng([number, 7]), net.copied()
        if damage.weights is not None:
            damage.weights(changed, strength, chosen, problem)
            write_model(changed, source)
        elif damage.calibration is not None:
            calibration, scale = damage.calibration(problem, strength)
        tool.make(Job(changed, source, candidate, calibration, scale, folder / "reference.onnx", net))
        if damage.file is not None:
            edit(damage, candidate, strength, chosen, net)
        outcome.strength = strength
        truth = oracle.truth(candidate, QUICK)
        if _of(truth, problem, "balanced", tool.scheme) > 1:
            truth = oracle.truth(candidate)
            if _of(truth, problem, "balanced", tool.scheme) > 1:
                break
    return truth


def _of(truth: Truth, problem: Problem, profile: str, scheme: str) -> float:
    return severity({**asdict(truth), "metric": problem.task}, profile, scheme)


def _asked(problem: Problem, folder: Path, samples: int = 1000) -> AdHoc:
    x, y, domain = problem.draw(samples)
    np.savez(folder / "data.npz", x=x, label=y, domain=domain)
    return AdHoc(
        candidate=folder / "candidate.onnx", reference=folder / "reference.onnx", inputs=folder / "data.npz",
        labels="label", slices="domain", task=problem.task, task_options=problem.options,
    )  # fmt: skip


def generated(number: int, machines: list[Machine], folder: Path, kinds: tuple[str, ...] = KINDS) -> Outcome:
    """A whole case; what a tool does not take is told and counts nowhere."""
    try:
        outcome, asked, _, truth = make(number, folder, kinds)
    except Exception as error:  # tools raise what they like
        return Outcome(
            number, f"case {number}", number % 2 == 0, problem=f"{type(error).__name__}: {error}"[:300]
        )
    outcome.truth = {**asdict(truth), "metric": asked.task}
    return said(outcome, asked, machines)


def said(outcome: Outcome, asked: AdHoc, machines: list[Machine]) -> Outcome:
    """The verdicts on every machine."""
    base: dict[str, Any] = {}
    for machine in machines:
        started = time.perf_counter()
        report = verified(asked, machine.threads, machine.emulated)
        spent = time.perf_counter() - started
        outcome.runs[machine.name] = judged(report)
        found = figures(report)
        if base:
            outcome.moved[machine.name] = sum(found.get(key) != value for key, value in base.items())
        else:
            base, outcome.seconds, outcome.scheme = found, spent, report.scheme or ""
    return outcome
