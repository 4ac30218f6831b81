"""Faults in scales, zero points and calibration."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.corpus import graph
from tests.corpus.faults import STATIC, NoPlaceError, Planted, Subject, fault

SCALED = ("qdq", "qop", "dynamic", "castmul", "nbits")


def _scaled(s: Subject, edit, position: int = 0) -> Planted:
    """A weight's scales replaced by ``edit(flat scales)``."""
    model, weight = s.copy(), s.weight(position)
    if not weight.scale or weight.scale not in graph.initializers(model):
        raise NoPlaceError("no stored scale")
    scale = graph.array(model, weight.scale)
    fresh = edit(scale.reshape(-1).copy())
    graph.put(model, weight.scale, np.asarray(fresh, scale.dtype).reshape(scale.shape))
    return Planted(model, [weight.scale, weight.tensor, weight.node])


def _one(value: float):
    def edit(scale: np.ndarray) -> np.ndarray:
        scale[len(scale) // 2] = value
        return scale

    return edit


@fault("s100_weight_scale_x2", SCALED)
def scale_doubled(s: Subject) -> Planted:
    return _scaled(s, lambda scale: scale * 2)


@fault("s101_weight_scale_5_percent", SCALED)
def scale_nudged(s: Subject) -> Planted:
    """All scales of one layer 5 % too large."""
    return _scaled(s, lambda scale: scale * 1.05, 1)


@fault("s102_channel_scale_10_percent", SCALED)
def channel_scale(s: Subject) -> Planted:
    def edit(scale):
        if len(scale) < 2:
            raise NoPlaceError("one scale only")
        scale[len(scale) // 2] *= 1.1
        return scale

    return _scaled(s, edit)


@fault("s103_channel_scales_rolled", SCALED)
def scales_rolled(s: Subject) -> Planted:
    def edit(scale):
        if len(scale) < 2:
            raise NoPlaceError("one scale only")
        return np.roll(scale, 1)

    return _scaled(s, edit)


@fault("s104_scale_zero", SCALED)
def scale_zero(s: Subject) -> Planted:
    return _scaled(s, _one(0.0))


@fault("s105_scale_negative", SCALED)
def scale_negative(s: Subject) -> Planted:
    def edit(scale):
        scale[0] = -scale[0]
        return scale

    if s.recipe.form == "nbits":
        raise NoPlaceError("MatMulNBits' symmetric scales are signed")
    return _scaled(s, edit)


@fault("s106_scale_nan", SCALED)
def scale_nan(s: Subject) -> Planted:
    return _scaled(s, _one(np.nan))


@fault("s107_scale_inf", SCALED)
def scale_inf(s: Subject) -> Planted:
    return _scaled(s, _one(np.inf))


@fault("s108_scale_subnormal", SCALED)
def scale_subnormal(s: Subject) -> Planted:
    return _scaled(s, _one(1e-40))


@fault("s109_scale_one_ulp_of_half", SCALED)
def scale_as_half(s: Subject) -> Planted:
    """One channel's scale off by 2 %: below what an output metric sees."""

    def edit(scale):
        scale[0] *= 1.02
        return scale

    return _scaled(s, edit, 1)


def _zero_point(s: Subject, edit, *, activation: bool) -> Planted:
    model = s.copy()
    if activation:
        known = [q for q in graph.quantizers(model) if q.zero_point in graph.initializers(model)]
        if not known:
            raise NoPlaceError("no activation zero point")
        pick = known[len(known) // 2]
        name, at = pick.zero_point, [pick.zero_point, pick.scale, pick.tensor, pick.node]
    else:
        weight = s.weight()
        if weight.form in ("nbits", "half") or weight.zero_point not in graph.initializers(model):
            raise NoPlaceError("no weight zero point")
        name, at = weight.zero_point, [weight.zero_point, weight.tensor, weight.node]
    value = graph.array(model, name)
    wide = value.astype(np.float32).astype(np.int64)
    fresh = edit(wide.copy())
    if np.array_equal(fresh, wide):
        raise NoPlaceError("nothing would change")
    graph.put(model, name, np.asarray(fresh).astype(np.int32).astype(value.dtype).reshape(value.shape))
    return Planted(model, at)


@fault("s110_weight_zero_point_plus_1", ("qdq", "qop", "dynamic"))
def weight_zero_point(s: Subject) -> Planted:
    def edit(zero):
        flat = zero.reshape(-1)
        flat[flat.size // 2] += 1
        return flat.reshape(zero.shape)

    return _zero_point(s, edit, activation=False)


@fault("s111_activation_zero_point_moved", STATIC, shows=True)
def activation_zero_point(s: Subject) -> Planted:
    """The zero point a sixth of the range off: one end of the values is clipped."""
    return _zero_point(s, lambda zero: np.where(zero > 0, zero - 40, zero + 40), activation=True)


@fault("s113_zero_points_disagree", ("qdq",))
def zero_points_disagree(s: Subject) -> Planted:
    """A DequantizeLinear subtracts one more than its QuantizeLinear added."""
    model = s.copy()
    stored = graph.initializers(model)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in stored and len(node.input) == 3:
            old = node.input[2]
            value = graph.array(model, old)
            moved = graph.integers(value) + (1 if graph.integers(value).max() < 100 else -1)
            graph.put(model, old + "_dq", moved.astype(value.dtype).reshape(value.shape))
            node.input[2] = old + "_dq"
            return Planted(model, [old + "_dq", old, node.input[1], graph.label(node), node.output[0]])
    raise NoPlaceError("no activation DequantizeLinear")


@fault("s112_activation_zero_point_opposite", STATIC, shows=True)
def activation_zero_point_opposite(s: Subject) -> Planted:
    """The zero point at the other end of the range."""
    kind = (
        graph.array(s.candidate, graph.quantizers(s.candidate)[0].zero_point or "").dtype
        if graph.quantizers(s.candidate)
        else np.dtype(np.int8)
    )
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else (-8, 7)
    return _zero_point(s, lambda zero: low + high - zero, activation=True)


def _activations(s: Subject, factor: float, pick) -> Planted:
    model = s.copy()
    known = graph.quantizers(model)
    if not known:
        raise NoPlaceError("no static activation quantizer")
    chosen = pick(known)
    for quantizer in chosen:
        value = graph.array(model, quantizer.scale)
        graph.put(model, quantizer.scale, (value * factor).astype(value.dtype))
    return Planted(model, [name for q in chosen for name in (q.scale, q.tensor, q.node)])


@fault("s120_activations_clipped_4x", STATIC, shows=True)
def clipped_all(s: Subject) -> Planted:
    return _activations(s, 0.25, lambda known: known)


@fault("s121_activations_16x_too_wide", STATIC, shows=True)
def wide_all(s: Subject) -> Planted:
    return _activations(s, 16.0, lambda known: known)


@fault("s122_one_activation_clipped_4x", STATIC, shows=True)
def clipped_one(s: Subject) -> Planted:
    return _activations(s, 0.25, lambda known: known[len(known) // 2 : len(known) // 2 + 1])


@fault("s123_one_activation_16x_too_wide", STATIC, shows=True)
def wide_one(s: Subject) -> Planted:
    return _activations(s, 16.0, lambda known: known[len(known) // 2 : len(known) // 2 + 1])


@fault("s124_input_scale_x2", STATIC, shows=True, debatable="one bit of resolution lost")
def input_scale(s: Subject) -> Planted:
    """The first quantizer's scale doubled, in QDQ both sides alike: a wrong preprocessing."""
    return _activations(s, 2.0, lambda known: known[:1])


@fault("s125_activation_scale_nan", STATIC)
def activation_nan(s: Subject) -> Planted:
    return _activations(s, float("nan"), lambda known: known[-1:])


@fault("s126_output_scale_5_percent", STATIC)
def output_scale(s: Subject) -> Planted:
    """The last DequantizeLinear reads a scale of its own, 5 % larger than its QuantizeLinear's."""
    model = s.copy()
    stored = graph.initializers(model)
    last = next(
        (
            n
            for n in reversed(model.graph.node)
            if n.op_type == "DequantizeLinear" and n.input[0] not in stored
        ),
        None,
    )
    if last is None:
        raise NoPlaceError("no activation DequantizeLinear")
    old = last.input[1]
    graph.put(model, old + "_dq", (graph.array(model, old) * np.float32(1.05)).astype(np.float32))
    last.input[1] = old + "_dq"
    return Planted(model, [old + "_dq", old, graph.label(last), last.output[0]])


def _calibrated(s: Subject, calibration: dict[str, np.ndarray]) -> Planted:
    honest = s.candidate
    model = s.requantize(dataclasses.replace(s.model, calibration=calibration))
    at = []
    for quantizer in graph.quantizers(model):
        if quantizer.scale in graph.initializers(honest):
            ratio = np.max(graph.array(model, quantizer.scale)) / np.max(graph.array(honest, quantizer.scale))
            if ratio < 0.8 or ratio > 1.25:
                at += [quantizer.scale, quantizer.tensor, quantizer.node]
    if not at:
        raise NoPlaceError("this calibration changes nothing")
    return Planted(model, at)


@fault("s130_calibrated_on_constants", STATIC, shows=True)
def calibrated_on_constants(s: Subject) -> Planted:
    """Calibration on all-zero inputs."""
    return _calibrated(s, {name: np.zeros_like(value) for name, value in s.model.calibration.items()})


@fault("s131_calibrated_without_normalisation", STATIC, shows=True)
def calibrated_unnormalised(s: Subject) -> Planted:
    """Calibration data eight times smaller, as 0..1 against 0..255 would be."""
    if any(value.dtype.kind != "f" for value in s.model.calibration.values()):
        raise NoPlaceError("token inputs")
    return _calibrated(s, {name: value / 8 for name, value in s.model.calibration.items()})


@fault("s132_calibrated_on_one_sample", STATIC, shows=True, debatable="one sample may cover the range")
def calibrated_on_one(s: Subject) -> Planted:
    """Calibration on one sample, repeated."""
    return _calibrated(s, {name: np.repeat(value[:1], 64, 0) for name, value in s.model.calibration.items()})
