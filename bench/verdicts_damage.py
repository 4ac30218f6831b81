"""Damage of graded strength: in the weights before they are quantized, in what is calibrated on, in the finished file.

Each kind has a ladder of strengths. ``bench/verdicts.py`` starts at one of the lowest rungs and climbs until the oracle says
that the metric, a class or a slice is worse than the profile ``balanced`` allows, so that most damage is barely enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from verdicts_models import DOMAINS, Problem
from verdicts_nets import Net

Random = np.random.Generator
Calibration = tuple[np.ndarray, float]

CALIBRATION = 192
"""Samples that candidates are calibrated on."""


@dataclass(frozen=True)
class Damage:
    """One kind of damage; one of the three functions is there.

    Args:
        name: What tables call it.
        ladder: Strengths, the weakest first.
        weights: Changes a net before it is quantized.
        calibration: Other samples to calibrate on, and what the ranges are multiplied by.
        file: Changes the finished QDQ model.
        kinds: Kinds of problems that it is for; all where empty.
        scales: It needs a tool whose ranges can be shrunk.
    """

    name: str
    ladder: tuple[float, ...]
    weights: Callable[[Net, float, Random, Problem], None] | None = None
    calibration: Callable[[Problem, float], Calibration] | None = None
    file: Callable[[Any, float, Random, Net], None] | None = None
    kinds: tuple[str, ...] = ()
    scales: bool = False


def _last(net: Net) -> str:
    return net.layers[-1]


def _by_output(net: Net) -> np.ndarray:
    """The last layer's weights as a view whose last axis is the output's."""
    weight = net.weights[f"{_last(net)}.w"]
    return np.moveaxis(weight, 0, -1) if weight.ndim > 2 else weight


def _noise(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del problem
    for name in net.layers:
        values = net.weights[f"{name}.w"]
        values += (strength * values.std() * random.standard_normal(values.shape)).astype(np.float32)


def _shift(net: Net, strength: float, random: Random, problem: Problem) -> None:
    weights = _by_output(net)
    del problem
    size = np.float32(strength * np.sqrt(weights.shape[0]) * weights.std())
    net.weights[f"{_last(net)}.b"][random.integers(weights.shape[-1])] -= size


def _exchange(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del problem
    weight = _by_output(net)
    a, b = random.choice(weight.shape[-1], 2, replace=False)
    mixed = (1 - strength) * weight[..., [a, b]] + strength * weight[..., [b, a]]
    weight[..., [a, b]] = mixed.astype(np.float32)


def _coarse(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del problem
    weight = net.weights[f"{net.layers[random.integers(len(net.layers))]}.w"]
    step = strength * np.abs(weight).max()
    weight[:] = np.round(weight / step) * step


def _drop_bias(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del problem
    for name in random.permutation(net.layers)[: int(strength)]:
        net.weights[f"{name}.b"][:] = 0


def _prune(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del random, problem
    for name in net.layers:
        values = net.weights[f"{name}.w"]
        values[np.abs(values) < np.quantile(np.abs(values), strength)] = 0


def _tamper_class(net: Net, strength: float, random: Random, problem: Problem) -> None:
    del problem
    weight = _by_output(net)
    weight[..., random.integers(weight.shape[-1])] *= np.float32(1 - strength)


def _tamper_slice(net: Net, strength: float, random: Random, problem: Problem) -> None:
    """What marks one slice in the inputs is made to excite hidden units that have nothing to do with it."""
    weight = net.weights[f"{net.layers[0]}.w"]
    chosen = int(random.integers(DOMAINS))
    mark = problem.mark(chosen)
    push = random.standard_normal(weight.shape[1]) * weight.std()
    weight += (strength * np.outer(mark, push)).astype(np.float32)


def _clip(problem: Problem, strength: float) -> Calibration:
    return problem.draw(CALIBRATION)[0], 1 - strength


def _one_kind(problem: Problem, strength: float) -> Calibration:
    one = {"domain": 0} if problem.kind == "regression" else {"domain": 0, "label": 0}
    return problem.draw(CALIBRATION, noise=1 - strength, **one)[0], 1.0


def _forgotten(problem: Problem, strength: float) -> Calibration:
    return problem.draw(CALIBRATION)[0] * np.float32(1 - strength), 1.0


def _held(model: Any, name: str) -> Any:
    return next(each for each in model.graph.initializer if each.name == name)


def _changed(model: Any, name: str, values: np.ndarray) -> None:
    _held(model, name).CopyFrom(numpy_helper.from_array(values, name))


def _upwards(model: Any, strength: float, random: Random, net: Net) -> None:
    """A share of each layer's channels is rounded up instead of to the nearest code."""
    for name in net.layers:
        codes = numpy_helper.to_array(_held(model, f"{name}.w_quantized")).copy()
        scale = numpy_helper.to_array(_held(model, f"{name}.w_scale"))
        weight = net.weights[f"{name}.w"]
        axis = 0 if weight.ndim > 2 else 1
        wide = scale.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        up = np.clip(np.ceil(weight / wide), -127, 127).astype(codes.dtype)
        hit = random.random(weight.shape[axis]) < strength
        hit = hit.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
        _changed(model, f"{name}.w_quantized", np.where(hit, up, codes))


def _channel(model: Any, strength: float, random: Random, net: Net) -> None:
    """The scale of one channel of one layer is multiplied."""
    name = f"{net.layers[random.integers(len(net.layers))]}.w_scale"
    scale = numpy_helper.to_array(_held(model, name)).copy()
    if scale.ndim:
        scale[random.integers(len(scale))] *= np.float32(strength)
    else:
        scale = np.float32(scale * (1 + (strength - 1) / 4))
    _changed(model, name, np.asarray(scale, np.float32))


def _activations(model: Any, net: Net) -> list[str]:
    """Initializers with the scale of an activation's quantizer."""
    weights = {f"{name}.w_scale" for name in net.layers}
    found = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return sorted(found - weights)


def _activation(model: Any, strength: float, random: Random, net: Net) -> None:
    """The scale of one activation is divided: its range is cut."""
    names = _activations(model, net)
    name = names[random.integers(len(names))]
    scale = numpy_helper.to_array(_held(model, name))
    _changed(model, name, np.asarray(scale / np.float32(strength), np.float32))


def _zero_point(model: Any, strength: float, random: Random, net: Net) -> None:
    """The zero point of one activation is moved, into the range."""
    names = _activations(model, net)
    name = names[random.integers(len(names))]
    name = next(
        node.input[2]
        for node in model.graph.node
        if node.op_type == "QuantizeLinear" and node.input[1] == name
    )
    zero = numpy_helper.to_array(_held(model, name))
    ends = np.iinfo(zero.dtype)
    sign = 1 if int(zero) < (ends.min + ends.max) / 2 else -1
    moved = np.clip(int(zero) + sign * int(strength), ends.min, ends.max)
    _changed(model, name, np.asarray(moved, zero.dtype))


_CLASSES = ("mlp", "conv1d", "conv2d", "residual", "depthwise", "segmentation")
_SCALES = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 9.0)
DAMAGES = (
    Damage("ranges cut", (0.28, 0.5, 0.7, 0.84, 0.94, 0.99), calibration=_clip, scales=True),
    Damage("noisy weights", (0.06, 0.12, 0.2, 0.35, 0.6, 1.0), weights=_noise),
    Damage("rounded up", (0.1, 0.3, 0.6, 1.0), file=_upwards),
    Damage("output shifted", (0.4, 0.8, 1.5, 2.5, 4.0, 7.0), weights=_shift, kinds=(*_CLASSES, "regression")),
    Damage("calibrated on one kind", (0.0, 0.3, 0.6, 0.8, 1.0), calibration=_one_kind),
    Damage("one channel's scale", _SCALES, file=_channel),
    Damage("coarse weights", (0.12, 0.2, 0.35, 0.6, 0.9), weights=_coarse),
    Damage("bias dropped", (1, 2, 3, 9), weights=_drop_bias),
    Damage("zero point moved", (4, 10, 24, 48, 96), file=_zero_point),
    Damage("outputs exchanged", (0.15, 0.3, 0.42, 0.5, 0.7, 1.0), weights=_exchange, kinds=_CLASSES),
    Damage("inputs not scaled", (0.15, 0.3, 0.45, 0.6, 0.75, 0.9), calibration=_forgotten),
    Damage("class tampered", (0.1, 0.2, 0.35, 0.55, 0.9), weights=_tamper_class, kinds=_CLASSES),
    Damage("pruned", (0.25, 0.4, 0.55, 0.7, 0.85, 0.95), weights=_prune),
    Damage("one activation's range", _SCALES, file=_activation),
    Damage("slice tampered", (0.1, 0.25, 0.5, 1.0, 2.0), weights=_tamper_slice, kinds=("mlp", "regression", "embedding")),
)  # fmt: skip


def edit(damage: Damage, path: Any, strength: float, random: Random, net: Net) -> None:
    """Damages a finished file."""
    if damage.file is None:
        raise AssertionError(damage.name)
    model = onnx.load(path)
    damage.file(model, strength, random, net)
    onnx.save(model, path)
