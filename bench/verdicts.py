"""Whether verdicts on behaviour are right about damage and quiet about noise: generated models, an independent oracle.

``python bench/verdicts.py [--cases N] [--samples N] [--repeats N] [--json FILE]`` prints a table. Each case is a classifier
of its own (width, depth, difficulty and seed differ), quantized by ONNX Runtime's recipes: honestly, or damaged in one of
several ways and strengths. What counts as damage is decided by the oracle: both models on ``ORACLE`` samples that qgate
never sees, run by ONNX Runtime here. A case is *damaged* where the metric truly drops by more than the profile allows, and
*honest* where it was quantized honestly and does not; what is neither (weak damage) is shown and judged by nobody.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from qgate.judge import conclude, judge
from qgate.policy.thresholds import resolve
from qgate.records import Verdict
from qgate.report.schema import TargetReport
from qgate.rules.base import PROFILES
from qgate.runtimes.recipes import calibrated_tensors, write_recipe
from qgate.stats.intervals import wilson
from qgate.verifier.adhoc import AdHoc, verify_ad_hoc

ORACLE = 50_000
CALIBRATION = 256
CLASSES = 10
FEATURES = 32
RECIPES = ("static per channel", "static per tensor", "dynamic")
DAMAGES = ("clipped", "noisy weights", "shifted class", "exchanged classes", "coarse weights")
STRENGTHS = (0.1, 0.3, 1.0)
BEHAVIOUR = "BEH"


@dataclass(frozen=True)
class Outcome:
    """One case: what is true of it, and what was said.

    Args:
        name: What was done.
        honest: Whether it was quantized honestly.
        true_drop: Drop of top-1 on the oracle's samples.
        verdicts: By profile.
        behaviour: By profile, of the rules on behaviour alone.
        stable: Whether other processors and repeats gave the same verdicts.
    """

    name: str
    honest: bool
    true_drop: float
    verdicts: dict[str, str]
    behaviour: dict[str, str]
    stable: bool


class Problem:
    """A task with a reference: Gaussian classes, random features, a last layer by least squares.

    Args:
        seed: Of everything.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._means = self._random.standard_normal((CLASSES, FEATURES)) * self._random.uniform(0.5, 1.2)
        width, depth = int(self._random.choice([48, 96, 160])), int(self._random.integers(1, 4))
        sizes = [FEATURES, *[width] * depth]
        self.layers = [
            (self._random.standard_normal((a, b)).astype(np.float32) * np.float32(np.sqrt(2 / a)),
             self._random.standard_normal(b).astype(np.float32) * np.float32(0.1))
            for a, b in pairwise(sizes)
        ]  # fmt: skip
        x, y = self.draw(6000)
        hidden = x
        for weight, bias in self.layers:
            hidden = np.maximum(hidden @ weight + bias, 0)
        wide = np.concatenate([hidden, np.ones((len(hidden), 1), np.float32)], axis=1)
        solved = np.linalg.solve(wide.T @ wide + 3 * np.eye(wide.shape[1]), wide.T @ np.eye(CLASSES)[y])
        self.layers.append((8 * solved[:-1].astype(np.float32), 8 * solved[-1].astype(np.float32)))

    def draw(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples and their classes."""
        y = self._random.integers(0, CLASSES, count)
        x = self._means[y] + self._random.standard_normal((count, FEATURES))
        return x.astype(np.float32), y


def write_model(layers: list[tuple[np.ndarray, np.ndarray]], path: Path) -> Path:
    """Writes a classifier."""
    nodes, constants, name = [], [], "x"
    for number, (weight, bias) in enumerate(layers):
        last = number == len(layers) - 1
        constants += [
            numpy_helper.from_array(weight, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        out = "logits" if last else f"h{number}"
        nodes.append(helper.make_node("Gemm", [name, f"w{number}", f"b{number}"], [out], f"gemm{number}"))
        if not last:
            nodes.append(helper.make_node("Relu", [out], [f"r{number}"], f"relu{number}"))
        name = f"r{number}"
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def damaged(layers: list[Any], damage: str, strength: float, random: np.random.Generator) -> list[Any]:
    """The layers as a damaged candidate is quantized from; the reference keeps its own."""
    found = [(weight.copy(), bias.copy()) for weight, bias in layers]
    weight, bias = found[-1]
    if damage == "noisy weights":
        for values, _ in found:
            values[:] += (strength * values.std() * random.standard_normal(values.shape)).astype(np.float32)
    elif damage == "shifted class":
        bias[random.integers(CLASSES)] -= np.float32(6 * strength)
    elif damage == "exchanged classes":
        a, b = random.choice(CLASSES, 2, replace=False)
        mixed = (1 - strength) * weight[:, [a, b]] + strength * weight[:, [b, a]]
        weight[:, [a, b]] = mixed.astype(np.float32)
    elif damage == "coarse weights":
        step = strength * np.abs(weight).max()
        weight[:] = np.round(weight / step) * step
    return found


def ranges_of(model: Path, x: np.ndarray, share: float) -> dict[str, tuple[float, float]]:
    """Ranges of the activations on calibration data; ``share`` below 1 cuts them off."""
    loaded, names = onnx.load(model), calibrated_tensors(model)
    inner = [name for name in names if name not in ("x", "logits")]
    loaded.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in inner)
    session = onnxruntime.InferenceSession(loaded.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x}), strict=True)) | {
        "x": x
    }
    return {
        name: (min(share * float(v.min()), 0.0), max(share * float(v.max()), 0.0))
        for name, v in values.items()
    }


def right(model: Path, x: np.ndarray, y: np.ndarray) -> float:
    """Share of samples that the model gets right, as the oracle has it."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    told = [session.run(None, {"x": x[i : i + 5000]})[0].argmax(axis=1) for i in range(0, len(x), 5000)]
    return float((np.concatenate(told) == y).mean())


def run(number: int, samples: int, repeats: int, folder: Path) -> Outcome:
    """One case: even numbers are honest, odd ones damaged."""
    problem, random = Problem(number // 2 + 1), np.random.default_rng(number)
    reference = write_model(problem.layers, folder / "reference.onnx")
    honest, recipe = number % 2 == 0, RECIPES[number // 2 % 3]
    damage, strength = DAMAGES[number // 2 % 5], STRENGTHS[number // 10 % 3]
    source, share = reference, 1.0
    if not honest and damage == "clipped":
        recipe, share = RECIPES[number % 2], 1 - 0.8 * strength
    elif not honest:
        source = write_model(damaged(problem.layers, damage, strength, random), folder / "source.onnx")
    candidate = folder / "candidate.onnx"
    write_recipe(recipe, source, candidate, ranges_of(source, problem.draw(CALIBRATION)[0], share))
    x, y = problem.draw(samples)
    np.savez(folder / "data.npz", x=x, label=y)
    asked = AdHoc(
        candidate=candidate, reference=reference, inputs=folder / "data.npz", labels="label", task="top1"
    )
    told = [judged(report) for report in reports(asked, repeats)]
    big = problem.draw(ORACLE)
    name = f"{recipe}" if honest else f"{recipe}, {damage} {strength:g}"
    drop = right(reference, *big) - right(candidate, *big)
    return Outcome(name, honest, drop, *told[0], stable=all(each == told[0] for each in told))


def reports(asked: AdHoc, repeats: int) -> Iterator[TargetReport]:
    """The same pair on all processors, then on one at a time: verdicts must not depend on the machine."""
    all_of_them = os.sched_getaffinity(0)
    yield verify_ad_hoc(asked)
    for turn in range(repeats):
        os.sched_setaffinity(0, {sorted(all_of_them)[turn % len(all_of_them)]})
        try:
            yield verify_ad_hoc(asked)
        finally:
            os.sched_setaffinity(0, all_of_them)


def judged(report: TargetReport) -> tuple[dict[str, str], dict[str, str]]:
    """Verdicts by profile: of all rules, and of those on behaviour alone."""
    whole, behaviour = {}, {}
    for profile in PROFILES:
        limits = resolve(None, None, profile, report.scheme)
        found = judge(report.measurements, limits, scheme=report.scheme, declared=report.declared)
        kept = [f for f in report.findings if f.effect is Verdict.ERROR]
        whole[profile] = conclude((*kept, *found), report.measurements)[0].value
        own = tuple(f for f in found if f.rule.startswith(BEHAVIOUR))
        behaviour[profile] = conclude(own, report.measurements)[0].value
    return whole, behaviour


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """False blocks and misses by profile, with Wilson's 95 % upper bounds."""
    yield "| profile | false blocks | of behaviour alone | misses | of behaviour alone | untold (INCONCLUSIVE) |"
    yield "|:--|--:|--:|--:|--:|--:|"
    for profile in PROFILES:
        limit = float(resolve(None, None, profile, "int8")["BEH101"]["max_drop"].value)
        good = [o for o in outcomes if o.honest and o.true_drop <= limit]
        bad = [o for o in outcomes if o.true_drop > limit]
        cells = [profile]
        for cases, wrong in ((good, {"FAIL", "ERROR"}), (bad, {"PASS"})):
            for kind in ("verdicts", "behaviour"):
                cells.append(_share(sum(getattr(o, kind)[profile] in wrong for o in cases), len(cases)))
        untold = sum(o.behaviour[profile] == "INCONCLUSIVE" for o in outcomes)
        yield "| " + " | ".join([*cells, f"{untold} of {len(outcomes)}"]) + " |"
    flipped = sum(not o.stable for o in outcomes)
    yield f"\nVerdicts that flip across repeats and processors: {flipped} of {len(outcomes)}."


def _share(count: int, of: int) -> str:
    return f"{count} of {of} (at most {wilson(count, of)[1]:.1%})"


def main() -> int:
    """Runs all cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=600, help="half of them honest")
    parser.add_argument("--samples", type=int, default=1000, help="labelled samples that qgate is given")
    parser.add_argument("--repeats", type=int, default=1, help="runs beside the first, each on one processor")
    parser.add_argument("--json", type=Path, help="where every outcome is written")
    asked = parser.parse_args()
    outcomes = []
    for number in range(asked.cases):
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(run(number, asked.samples, asked.repeats, Path(folder)))
        last = outcomes[-1]
        if asked.json:  # after every case, so that a run that is ended has something to show
            text = json.dumps([asdict(each) for each in outcomes], indent=1)
            asked.json.write_text(text, encoding="utf-8")
        print(f"{number}: {last.name}: {last.true_drop:+.4f} {last.verdicts}", file=sys.stderr)
    print("\n".join(table(outcomes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
