"""The models of ``bench/verdicts.py``: small nets of several kinds, each trained on a task that can be drawn without end.

A ``Problem`` draws its samples from a distribution of its own, so that an oracle can have as many as it wants. Its net is a
list of operations with weights by name: PyTorch trains it, and ``write_model`` writes it as ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from verdicts_nets import Builder, Net, forward
from verdicts_places import painted, regions, textures

KINDS = ("mlp", "conv1d", "conv2d", "residual", "depthwise", "regression", "embedding")
"""Kinds that take turns where none are asked for: recorded cases are told by their numbers, so none is added here."""

ALL = (*KINDS, "segmentation")
DOMAINS = 4
"""Slices of the data: samples of each are drawn otherwise, and carry a mark of theirs."""

STEPS, BATCH = 140, 64
PLACE_STEPS, PLACE_NOISE = 240, 0.2
"""Of segmentation: a place is told by few others, and a class must not be left out."""


@dataclass
class Problem:
    """A task and the net that was trained for it.

    Args:
        seed: Of everything.
        kind: One of ``ALL``.
        marked: Fully connected layers are written as ``MatMul`` and ``Add``, as weight-only int4 wants them.
    """

    seed: int
    kind: str
    marked: bool = False
    net: Net = field(init=False)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng([self.seed, ALL.index(self.kind)])
        random = self._random
        drawn = int(random.integers(1, 4))
        several = {"regression": drawn, "embedding": 20, "segmentation": 3 + drawn % 2}
        self.classes = several.get(self.kind, 10)
        shape = self._shape()
        # Of many places, those that agree tell a class through more noise.
        self.noise = float(random.uniform(0.5, 1.0) * max(1.0, np.prod(shape) / 48) ** 0.45)
        if self.kind == "segmentation":
            self.noise *= PLACE_NOISE
            self._templates = textures(random, self.classes, shape)
        else:
            self._templates = _smooth(random, self.classes if self.kind != "regression" else 6, shape)
        self._domains = 0.6 * _smooth(random, DOMAINS, shape)
        self._mixing = random.standard_normal((6, self.classes))
        self.net = _trained(self)

    @property
    def task(self) -> str:
        """The metric that qgate is asked for."""
        named = {"regression": "mae", "embedding": "recall_at_k", "segmentation": "miou"}
        return named.get(self.kind, "top1")

    @property
    def options(self) -> dict[str, int]:
        """What the task is told beside it."""
        return {"k": 1} if self.kind == "embedding" else {}

    def _shape(self) -> tuple[int, ...]:
        one = (int(self._random.choice([24, 48])),)
        side = int(self._random.choice([8, 12]))
        two = (int(self._random.choice([1, 3])), side, side)
        wave = (2, int(self._random.choice([32, 64])))
        images = dict.fromkeys(("conv2d", "residual", "depthwise"), two)
        return {**images, "conv1d": wave, "segmentation": (3, 12, 12)}.get(self.kind, one)

    def draw(self, count: int, **only: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples, what is true of them, and their domains.

        Args:
            count: How many.
            only: ``label`` and ``domain`` draw of one alone; ``noise`` multiplies what is random in them.
        """
        random = self._random
        domain = np.full(count, only["domain"]) if "domain" in only else random.integers(0, DOMAINS, count)
        noise = random.standard_normal((count, *self.net_shape)) * self.noise * only.get("noise", 1.0)
        if self.kind == "regression":
            hidden = random.standard_normal((count, 6))
            x = np.tensordot(hidden, self._templates, 1) * 0.7 + 0.3 * noise + self._domains[domain]
            y: np.ndarray = (np.sin(hidden) @ self._mixing + 0.1 * hidden @ self._mixing).astype(np.float32)
        elif self.kind == "segmentation":
            one, size = only.get("label"), self.net_shape[1:]
            y = (
                np.full((count, *size), one)
                if one is not None
                else regions(random, count, self.classes, size)
            )
            x = painted(self._templates, y) + self._domains[domain] + noise
        else:
            y = np.full(count, only["label"]) if "label" in only else random.integers(0, self.classes, count)
            x = self._templates[y] + self._domains[domain] + noise
        return x.astype(np.float32), y, domain

    def mark(self, domain: int) -> np.ndarray:
        """What the samples of a domain have in common, as a vector of length one."""
        pattern = self._domains[domain].reshape(-1)
        return np.asarray(pattern / np.linalg.norm(pattern))

    @property
    def net_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self._templates.shape[1:])


def _smooth(random: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Patterns: free numbers for vectors, blocks of two by two for signals and images."""
    if len(shape) == 1:
        return random.standard_normal((count, *shape)) * (24 / shape[0]) ** 0.5 * 0.8
    coarse = (shape[0], *(-(-size // 2) for size in shape[1:]))
    values = random.standard_normal((count, *coarse)) * 0.55
    for axis in range(2, len(shape) + 1):
        values = values.repeat(2, axis=axis)
    return values[(slice(None), slice(None), *(slice(size) for size in shape[1:]))]


def _untrained(problem: Problem, random: np.random.Generator) -> Net:
    made = Builder(random, problem.net_shape, problem.marked)
    act = str(random.choice(["relu", "relu", "relu6"]))
    if problem.kind in ("mlp", "regression", "embedding"):
        width = int(random.choice([32, 64, 96]))
        for _ in range(int(random.integers(1, 4))):
            made.dense(width)
            made.then(act)
    elif problem.kind in ("conv1d", "conv2d"):
        made.conv(int(random.choice([8, 12])), 5 if problem.kind == "conv1d" else 3)
        made.then(act, *(["maxpool"] if random.random() < 0.7 else []))
        made.conv(int(random.choice([12, 16])), stride=2)
        made.then(act, "flatten")
    elif problem.kind == "segmentation":
        for _ in range(int(random.integers(2, 4))):
            made.conv(int(random.choice([8, 12])))
            made.then(act)
        made.conv(problem.classes, size=1)
    else:
        channels = int(random.choice([8, 12]))
        made.conv(channels, stride=2)
        made.then(act)
        for _ in range(int(random.integers(1, 3))):
            made.then("push")
            made.conv(channels, groups=channels if problem.kind == "depthwise" else 1)
            made.then(act)
            made.conv(channels, size=1 if problem.kind == "depthwise" else 3)
            made.then("add", act)
        made.then(*(["maxpool"] if random.random() < 0.3 else []), "flatten")
    if problem.kind != "segmentation":
        made.dense(16 if problem.kind == "embedding" else problem.classes)
    weights = {name: values.astype(np.float32) for name, values in made.weights.items()}
    return Net(made.ops, weights, problem.net_shape, made.shape[0])


RATES = (6e-3, 2e-3, 6e-4)
LEARNED = 0.7
"""A net has learned something where its loss has fallen to this share of what it began with."""


def _trained(problem: Problem) -> Net:
    """The net after some hundred steps of Adam; slower ones where all units died."""
    for rate in RATES:
        net, fallen = _attempt(problem, rate)
        if fallen <= LEARNED:
            break
    return net


def _attempt(problem: Problem, rate: float) -> tuple[Net, float]:
    """A trained net, and its last losses as a share of the first."""
    import torch

    torch.set_num_threads(1)
    losses: list[float] = []
    net = _untrained(problem, np.random.default_rng([problem.seed, 99]))
    values = {name: torch.tensor(each, requires_grad=True) for name, each in net.weights.items()}
    generator = torch.Generator().manual_seed(problem.seed)
    head = torch.randn(net.output, problem.classes, generator=generator) * net.output**-0.5
    head.requires_grad_(problem.kind == "embedding")
    learned = [*values.values(), *([head] if head.requires_grad else [])]
    adam = torch.optim.Adam(learned, lr=rate)
    steps = PLACE_STEPS if problem.kind == "segmentation" else STEPS
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        x, y, _ = problem.draw(BATCH)
        out = forward(net.ops, values, torch.from_numpy(x))
        if problem.kind == "regression":
            loss = torch.nn.functional.smooth_l1_loss(out, torch.from_numpy(y))
        else:
            if head.requires_grad:
                out = 10 * torch.nn.functional.normalize(out) @ torch.nn.functional.normalize(head, dim=0)
            loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(y))
        adam.zero_grad()
        loss.backward()
        adam.step()
        rates.step()
        losses.append(loss.item())
    made = net.with_weights({name: each.detach().numpy().copy() for name, each in values.items()})
    return made, float(np.mean(losses[-20:]) / np.mean(losses[:3]))
