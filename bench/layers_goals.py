"""The figures of one model, and the goals that they are held against."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from layers_timed import Spent

FLOOR, TUNED = "plain sessions (floor)", "plain, 1 thread each, 2 workers (tuned floor)"
FIVE, ONE = "layers, five figures", "layers, five figures, 1 worker"
LARGE = ("yolo", "minilm", "det")
"""The goals are for these; the example models are over before anything that counts has begun."""


@dataclass
class Figures:
    """What all contenders took on one model.

    Args:
        model: Its name.
        own: Plain inference and qgate.
        beside_peers: Some of them at the number of samples that the other tools are given.
        peers: The other tools.
    """

    model: str
    own: dict[str, Spent]
    beside_peers: dict[str, Spent] = field(default_factory=dict)
    peers: dict[str, Spent] = field(default_factory=dict)

    def time(self, one: str, two: str) -> float | None:
        """Seconds of one as a multiple of another's."""
        return _ratio(self.own[one], self.own[two], "seconds")

    def memory(self, one: str, two: str) -> float | None:
        """Peak memory likewise."""
        return _ratio(self.own[one], self.own[two], "peak")

    def peer(self, name: str, what: str) -> float | None:
        """Another tool as a multiple of the layers."""
        return _ratio(self.peers[name], self.beside_peers[FIVE], what) if name in self.peers else None

    def weights(self) -> tuple[float, float] | None:
        """GB/s of qgate's comparison of weights, and how much faster than qdq_loss_debug's it is a byte."""
        ours, theirs = self.own["weights"], self.own["loss_debug_weights"]
        if ours.failed:
            return None
        speeds = []
        for spent in (ours, theirs):
            said = json.loads(spent.said) if not spent.failed else {"bytes": 0, "seconds": 1}
            speeds.append(said["bytes"] / said["seconds"] / 1e9)
        return speeds[0], speeds[0] / speeds[1] if speeds[1] else float("nan")


def _ratio(one: Spent, two: Spent, what: str) -> float | None:
    if one.failed or two.failed:
        return None
    return float(getattr(one, what) / getattr(two, what))


Read = Callable[[Figures], float | None]
_GOALS: tuple[tuple[str, str, float, Read], ...] = (
    ("all layers, five figures: time against the floor", "<=", 1.2, lambda f: f.time(FIVE, FLOOR)),
    ("SQNR alone: time against the floor", "<=", 0.9, lambda f: f.time("layers, SQNR alone", FLOOR)),
    ("compute layers alone: time against the floor", "<=", 0.7,
     lambda f: f.time("layers, five figures, compute layers", FLOOR)),
    ("all layers: time against the tuned floor", "<=", 1.5, lambda f: f.time(FIVE, TUNED)),
    ("peak memory, 2 workers, against the floor", "<=", 1.2, lambda f: f.memory(FIVE, FLOOR)),
    ("peak memory, 1 worker, against the floor", "<=", 1.05, lambda f: f.memory(ONE, FLOOR)),
    ("qdq_loss_debug: slower by", ">=", 12, lambda f: f.peer("qdq_loss_debug", "seconds")),
    ("qdq_loss_debug: more memory by", ">=", 30, lambda f: f.peer("qdq_loss_debug", "peak")),
    ("Polygraphy: slower by", ">=", 30, lambda f: f.peer("Polygraphy", "seconds")),
    ("Polygraphy: more memory by", ">=", 6, lambda f: f.peer("Polygraphy", "peak")),
    ("weights compared, GB/s", ">=", 5, lambda f: (f.weights() or (None,))[0]),
    ("weights: faster than qdq_loss_debug by", ">=", 40, lambda f: (f.weights() or (None, None))[1]),
)  # fmt: skip


def goals_table(found: Sequence[Figures]) -> str:
    """Each goal, the figure of every large model, and whether the worst of them reaches it."""
    large = [each for each in found if each.model in LARGE]
    if not large:
        return "No large model could be had, so no figure is held against a goal."
    names = [each.model for each in large]
    lines = [f"| goal | | {' | '.join(names)} | |", "|---|---|" + "---:|" * len(names) + "---|"]
    for what, way, bound, read in _GOALS:
        values = [read(each) for each in large]
        shown = ["-" if value is None else f"{value:.2f}" for value in values]
        known = [value for value in values if value is not None]
        met = bool(known) and all(value <= bound if way == "<=" else value >= bound for value in known)
        mark = "-" if not known else "met" if met else "**missed**"
        lines.append(f"| {what} | {way} {bound:g} | {' | '.join(shown)} | {mark} |")
    return "\n".join(lines)
