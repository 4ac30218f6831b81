"""Edits of the graph: made on quantized candidates, found and located without running; and honest rewrites.

An edit counts where the edited model loads and its outputs differ from the candidate's on the feeds. It is
found where the static inspection alone blocks it at the profile ``balanced`` although it passes the
candidate, and located where a blocking finding names the edited node, one of its tensors, or who makes or
reads them. A changed activation scale is no edit here: that is another calibration, and judged by data.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from integrity_rows import Row
from integrity_verify import verify
from structure_edits import Edit, edits
from structure_models import Arrays, Pair, handmade
from structure_pairs import examples, rewrites

from qgate.errors import QgateError
from qgate.formats.read import read_model
from qgate.judge import judge
from qgate.measure.interface import Interface
from qgate.measure.static import inspect_pair
from qgate.policy.thresholds import resolve
from qgate.records import Severity

EXAMPLE_SHARE = 0.02
WITH_DATA = 12
OF_COVERAGE = ("QNT1", "CST")


@dataclass(frozen=True)
class Told:
    """What the static inspection said: texts of what blocks, of what warns, and of what blocks for want of quantization.

    How much of a model is quantized is no question of its graph, and these models are small; an edit that takes all
    quantized weights from the model's path is blocked by that all the same.
    """

    blocking: tuple[str, ...]
    warning: tuple[str, ...]
    unquantized: tuple[str, ...] = ()


def told(reference: Path, candidate: Path) -> Told:
    """Inspects and judges a pair at the profile ``balanced``."""
    try:
        found = inspect_pair(read_model(reference), read_model(candidate), Interface())
        limits = resolve(None, None, "balanced", found.scheme.name)
        findings = judge(found.measurements, limits, scheme=found.scheme.name, declared={"scheme": "auto"})
    except QgateError as error:
        return Told((f"{error}",), ())
    held = [f for f in findings if not f.rule.startswith(OF_COVERAGE)]
    texts = {
        s: tuple(f"{f.rule} {f.at} {f.message} {f.evidence}" for f in held if f.severity is s)
        for s in Severity
    }
    share = [f for f in findings if f.rule.startswith(OF_COVERAGE) and f.severity is Severity.ERROR]
    return Told(texts[Severity.ERROR], texts[Severity.WARNING], tuple(f.rule for f in share))


def outputs(proto: onnx.ModelProto, feeds: Arrays) -> list[np.ndarray] | None:
    """What a model computes, node by node as the file says; None where it does not load or run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(v) for v in session.run(None, feeds)]
    except Exception:  # ONNX Runtime raises many kinds, and all mean that it does not run
        return None


def differ(one: list[np.ndarray], two: list[np.ndarray], tolerance: float = 1e-4) -> bool:
    """Whether a caller sees a difference."""
    return len(one) != len(two) or any(
        a.shape != b.shape
        or a.dtype != b.dtype
        or not np.allclose(a, b, rtol=tolerance, atol=tolerance / 10, equal_nan=True)
        for a, b in zip(one, two, strict=True)
    )


def spans(proto: onnx.ModelProto, feeds: Arrays) -> dict[str, float]:
    """Greatest magnitude of every float tensor of the main graph."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(proto)
    have = [o.name for o in proto.graph.output]
    names = [n for node in proto.graph.node for n in node.output if n and n not in have]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    found = outputs(tapped, feeds) or []
    held = {n: v for n, v in zip([*have, *names], found, strict=False) if v.dtype.kind == "f" and v.size}
    return {name: float(np.nanmax(np.abs(value))) or 1.0 for name, value in held.items()}


@dataclass
class Tally:
    """Counts of one group of pairs, with the names of what was not found, not named, or only warned about."""

    made: int = 0
    found: int = 0
    located: int = 0
    silent: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    quantizers: list[tuple[Pair, Edit]] = field(default_factory=list)
    unfit: list[str] = field(default_factory=list)

    def count(self, pair: Pair, edit: Edit, said: Told, honest: Told) -> None:
        """Adds one edit that makes a difference."""
        name = f"{pair.name}: {edit.what} at {', '.join(sorted(edit.places)[:3])}"
        if not said.blocking and "quantizer" in edit.what:
            # One on a tensor of its own, whose bounds prove nothing, is a matter of ranges.
            self.quantizers.append((pair, edit))
            return
        self.made += 1
        if not said.blocking and set(said.unquantized) - set(honest.unquantized):
            self.found += 1
            self.lost.append(f"{name}: blocked as a model without quantized weights")
            return
        if not said.blocking:
            warned = set(said.warning) - set(honest.warning)
            self.silent.append(f"{name} ({'warned' if warned else 'silent'})")
            return
        self.found += 1
        if any(place in text for text in said.blocking for place in (*edit.places, "evil")):
            self.located += 1
        else:
            self.lost.append(f"{name}: {said.blocking[0][:160]}")


def attack(pairs: Sequence[Pair], folder: Path, share: float) -> Tally:
    """Makes the edits of some pairs, or a share of them, and counts what is said of each."""
    tally = Tally()
    reference, path = folder / "reference.onnx", folder / "candidate.onnx"
    for number, pair in enumerate(pairs):
        onnx.save(pair.reference, reference)
        onnx.save(pair.candidate, path)
        honest, right = told(reference, path), outputs(pair.candidate, pair.feeds)
        if honest.blocking or right is None:
            tally.unfit.append(f"{pair.name}: {honest.blocking[:1]}")
            continue
        rng = np.random.default_rng(number)
        for edit in edits(
            pair.candidate, spans(pair.candidate, pair.feeds), lambda r=rng: r.random() < share
        ):
            wrong = outputs(edit.model, pair.feeds)
            if wrong is not None and differ(right, wrong):
                onnx.save(edit.model, path)
                tally.count(pair, edit, told(reference, path), honest)
    return tally


def rows_of(group: str, pairs: Sequence[Pair], tally: Tally) -> Iterator[Row]:
    """The rows of one group of pairs."""
    yield Row(f"honest candidates blocked, {group}", f"{len(tally.unfit)} of {len(pairs)}", "0", not tally.unfit,
              misses=tuple(tally.unfit))  # fmt: skip
    yield Row(f"edits blocked without running, {group}", f"{tally.found} of {tally.made}", "all",
              tally.found == tally.made, misses=tuple(tally.silent))  # fmt: skip
    yield Row(f"of these located at the edited node, {group}", f"{tally.located} of {tally.found}", ">= 99 %",
              tally.located >= 0.99 * tally.found, misses=tuple(tally.lost))  # fmt: skip


def by_data(held: Sequence[tuple[Pair, Edit]], folder: Path, most: int) -> Row:
    """Extra quantizers that the graph alone does not give away, verified with data."""
    rng = np.random.default_rng(0)
    picked = [held[i] for i in sorted(rng.permutation(len(held))[:most])]
    missed = []
    for number, (pair, edit) in enumerate(picked):
        place = folder / f"data_{number}"
        place.mkdir()
        onnx.save(pair.reference, place / "reference.onnx")
        onnx.save(edit.model, place / "candidate.onnx")
        # Fixed batches are fed one after the other.
        samples = {k: np.concatenate([v] * 8) for k, v in pair.feeds.items()}
        np.savez(place / "inputs.npz", **samples)
        said = verify(
            place / "reference.onnx", place / "candidate.onnx", place / "report", inputs=place / "inputs.npz"
        )
        if said.verdict == "PASS":
            missed.append(f"{pair.name}: {edit.what}")
    what = f"extra quantizers of a tensor of its own (a sample of {len(held)}), blocked with data"
    return Row(what, f"{len(picked) - len(missed)} of {len(picked)}", "all", not missed, misses=tuple(missed))


def honest_rows(pairs: Sequence[Pair], folder: Path) -> Iterator[Row]:
    """Honest rewrites that compute the same, and are blocked or warned about all the same."""
    blocked, warned = [], []
    kinds: Counter[str] = Counter()
    reference, path = folder / "reference.onnx", folder / "candidate.onnx"
    for pair in pairs:
        onnx.save(pair.reference, reference)
        right = outputs(pair.candidate, pair.feeds)
        for name, made in rewrites(pair, folder):
            now = outputs(made, pair.feeds)
            # Optimisers change the order of sums, and a sum on the edge of a step takes the next one.
            if right is None or now is None or differ(right, now, tolerance=0.1):
                continue
            onnx.save(made, path)
            said = told(reference, path)
            kinds[name] += 1
            if said.blocking:
                blocked.append(f"{pair.name}, {name}: {said.blocking[0][:200]}")
            elif said.warning:
                warned.append(f"{pair.name}, {name}: {said.warning[0][:200]}")
    listed = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    total = kinds.total()
    yield Row(
        f"honest rewrites blocked ({listed})",
        f"{len(blocked)} of {total}",
        "0",
        not blocked,
        misses=tuple(blocked),
    )
    yield Row("honest rewrites warned about", f"{len(warned)} of {total}", misses=tuple(warned))


def run(scale: float) -> Iterator[Row]:
    """The rows of this section."""
    ort.set_default_logger_severity(4)
    warnings.simplefilter("ignore")
    small, known = list(handmade()), list(examples())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = attack(small, folder, min(1.0, scale))
        yield from rows_of("one operator each", small, one)
        two = attack(known, folder, min(1.0, EXAMPLE_SHARE * scale))
        yield from rows_of("examples", known, two)
        if one.quantizers:
            yield by_data(one.quantizers, folder, max(1, round(WITH_DATA * scale)))
        picked = [*small, *known] if scale >= 1 else [*small, *known][:: max(1, round(1 / max(scale, 1e-3)))]
        yield from honest_rows(picked, folder)


if __name__ == "__main__":
    for row in run(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0):
        print(f"{row.what}: {row.value} (goal {row.goal or 'none'})", flush=True)
        for miss in row.misses:
            print("   ", miss, flush=True)
