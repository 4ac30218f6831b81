"""Faults in weights and biases: flipped bits, moved channels, other contents."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto

from tests.corpus import graph
from tests.corpus.faults import INTEGER, NoPlaceError, Planted, Subject, fault

BITS = {
    TensorProto.INT8: 8,
    TensorProto.UINT8: 8,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.FLOAT8E4M3FN: 8,
}


def names(weight: graph.Weight) -> list[str]:
    return [name for name in (weight.tensor, weight.node) if name]


def flip(model: onnx.ModelProto, tensor: str, element: int, bit: int) -> str:
    """Flips one bit of one element (of the packed byte, for packed forms); tells what changed."""
    value = graph.array(model, tensor)
    kind = graph.initializers(model)[tensor].data_type
    flat = value.reshape(-1)
    if kind in (TensorProto.INT4, TensorProto.UINT4):
        raw = int(flat[element]) & 15 ^ (1 << bit)
        signed = raw - 16 if kind == TensorProto.INT4 and raw > 7 else raw
        old, flat[element] = int(flat[element]), np.array(signed).astype(flat.dtype)
        new: object = signed
    else:
        view = flat.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[value.dtype.itemsize])
        old = flat[element].item() if hasattr(flat[element], "item") else flat[element]
        view[element] ^= 1 << bit
        new = flat[element]
    graph.put(model, tensor, value)
    return f"element {element} bit {bit}: {old} became {new}"


def _element(s: Subject, model: onnx.ModelProto, tensor: str) -> int:
    """A random element that holds information: not zero."""
    value = graph.array(model, tensor).astype(np.float32).reshape(-1)
    return int(s.rng.choice(np.flatnonzero(value)))


def _plant_flip(s: Subject, bit: int, position: int) -> Planted:
    model, weight = s.copy(), s.weight(position)
    width = BITS[graph.initializers(model)[weight.tensor].data_type]
    if bit >= width:
        raise NoPlaceError("the element has fewer bits")
    detail = flip(model, weight.tensor, _element(s, model, weight.tensor), bit)
    return Planted(model, names(weight), detail)


for _bit in range(16):
    fault(f"w1{_bit:02d}_flip_bit_{_bit}")(lambda s, bit=_bit: _plant_flip(s, bit, bit % 2))


@fault("w120_flip_two_elements_cancelling", INTEGER)
def flip_cancelling(s: Subject) -> Planted:
    """One element up by one step, another of the same tensor down: sums do not notice."""
    model, weight = s.copy(), s.weight()
    value = graph.array(model, weight.tensor)
    wide = graph.integers(value).reshape(-1)
    inner = np.flatnonzero(np.abs(wide) < 6)
    if len(inner) < 2:
        raise NoPlaceError("no two elements near zero")
    a, b = s.rng.choice(inner, 2, replace=False)
    wide[a], wide[b] = wide[a] + 1, wide[b] - 1
    graph.put(model, weight.tensor, wide.reshape(value.shape).astype(np.int32).astype(value.dtype))
    return Planted(model, names(weight), f"elements {a} and {b}")


@fault("w121_flip_32_bits")
def flip_many(s: Subject) -> Planted:
    model, weight = s.copy(), s.weight()
    width = BITS[graph.initializers(model)[weight.tensor].data_type]
    for _ in range(32):
        flip(model, weight.tensor, _element(s, model, weight.tensor), int(s.rng.integers(width)))
    return Planted(model, names(weight))


@fault("w122_bias_flip", ("qdq", "qop", "half"))
def bias_flip(s: Subject) -> Planted:
    """Bit 9 of an int32 bias (or bit 7 of a half one)."""
    model = s.copy()
    found = [entry for entry in graph.biases(model) if graph.array(model, entry[0]).dtype.itemsize in (2, 4)]
    if not found:
        raise NoPlaceError("no bias")
    tensor, _, node = found[len(found) // 2]
    kind = graph.array(model, tensor).dtype
    detail = flip(model, tensor, _element(s, model, tensor), 9 if kind == np.int32 else 7)
    return Planted(model, [tensor, node], detail)


@fault("w123_bias_zeroed", ("qdq", "qop", "half", "dynamic"))
def bias_zeroed(s: Subject) -> Planted:
    model = s.copy()
    found = graph.biases(model)
    if not found:
        raise NoPlaceError("no bias")
    tensor, _, node = found[0]
    graph.put(model, tensor, np.zeros_like(graph.array(model, tensor)))
    return Planted(model, [tensor, node])


@fault("w124_bias_of_wrong_scale", ("qdq",))
def bias_wrong_scale(s: Subject) -> Planted:
    """The int32 bias written for another scale: four times too large."""
    model = s.copy()
    found = [entry for entry in graph.biases(model) if entry[1]]
    if not found:
        raise NoPlaceError("no int32 bias")
    tensor, scale, node = found[-1]
    graph.put(
        model,
        tensor,
        (graph.array(model, tensor).astype(np.int64) * 4).clip(-(2**31), 2**31 - 1).astype(np.int32),
    )
    return Planted(model, [tensor, scale, node])


def _edited(s: Subject, edit, position: int = 0) -> Planted:
    """A weight's stored values replaced by ``edit(integers, output-channel axis)``."""
    model, weight = s.copy(), s.weight(position)
    value = graph.array(model, weight.tensor)
    wide = value.astype(np.float32).astype(np.float64)
    axis = weight.axis if weight.axis is not None and weight.axis < value.ndim else 0
    fresh = edit(wide, axis)
    if np.array_equal(fresh, wide):
        raise NoPlaceError("nothing would change")
    if value.dtype.kind in "iu" or value.dtype in (ml_dtypes.int4, ml_dtypes.uint4):
        fresh = np.rint(fresh).astype(np.int32)
    graph.put(model, weight.tensor, np.ascontiguousarray(fresh.astype(value.dtype)))
    return Planted(model, names(weight))


def _centre(s: Subject, position: int = 0) -> float:
    """The stored value that means zero."""
    weight = s.weight(position)
    if weight.zero_point in graph.initializers(s.candidate) and weight.form != "nbits":
        return float(graph.array(s.candidate, weight.zero_point).astype(np.float32).reshape(-1)[0])
    return 0.0


def _on_channel(wide: np.ndarray, axis: int, channel: int, value: object) -> np.ndarray:
    out = wide.copy()
    np.moveaxis(out, axis, 0)[channel] = value
    return out


@fault("w130_channel_zeroed", (*INTEGER, "half"))
def channel_zeroed(s: Subject) -> Planted:
    return _edited(s, lambda w, axis: _on_channel(w, axis, w.shape[axis] // 3, _centre(s)))


@fault("w131_two_channels_swapped")
def channels_swapped(s: Subject) -> Planted:
    def edit(w, axis):
        order = np.arange(w.shape[axis])
        order[[0, -1]] = order[[-1, 0]]
        return np.take(w, order, axis)

    return _edited(s, edit)


@fault("w132_channels_permuted")
def channels_permuted(s: Subject) -> Planted:
    return _edited(s, lambda w, axis: np.take(w, s.rng.permutation(w.shape[axis]), axis), 1)


@fault("w133_transposed_square")
def transposed(s: Subject) -> Planted:
    """A weight's contents transposed under the same shape."""

    def edit(w, axis):
        if w.ndim < 2:
            raise NoPlaceError("not a matrix")
        return np.swapaxes(w, 0, 1).reshape(w.shape)

    return _edited(s, edit)


@fault("w134_kernel_mirrored", (*INTEGER, "half"))
def mirrored(s: Subject) -> Planted:
    """Convolution kernels flipped left to right: convolution instead of correlation."""

    def edit(w, axis):
        if w.ndim < 3 or w.shape[-1] < 2:
            raise NoPlaceError("no kernel")
        return w[..., ::-1]

    return _edited(s, edit)


@fault("w135_sign_flipped", ("qdq", "qop", "castmul", "half", "dynamic"))
def sign_flipped(s: Subject) -> Planted:
    def edit(w, axis):
        centre = _centre(s, 1)
        mirrored = 2 * centre - w
        return (
            mirrored.clip(0, 255)
            if w.min() >= 0
            else mirrored.clip(
                -128 if s.recipe.form != "half" else None, 127 if s.recipe.form != "half" else None
            )
        )

    if graph.initializers(s.candidate)[s.weight(1).tensor].data_type in (TensorProto.INT4, TensorProto.UINT4):
        raise NoPlaceError("4 bits")
    return _edited(s, edit, 1)


@fault("w136_saturated", ("qdq", "qop", "castmul", "dynamic"))
def saturated(s: Subject) -> Planted:
    """Weights quantized with a range a third as wide: the tails saturate."""

    def edit(w, axis):
        centre = _centre(s)
        top = 7 if np.abs(w).max() <= 8 else 127
        low, high = (0, 255) if w.min() >= 0 else (-top - 1, top)
        return np.clip(centre + (w - centre) * 3, low, high)

    return _edited(s, edit)


@fault("w137_low_bit_content", ("qdq", "qop", "castmul", "dynamic"))
def low_bit_content(s: Subject) -> Planted:
    """int8 that uses only 16 levels: 4-bit contents sold as 8-bit."""

    def edit(w, axis):
        if w.max() - w.min() < 64:
            raise NoPlaceError("already few levels")
        return (np.rint(w / 16) * 16).clip(-128 if w.min() < 0 else 0, 112 if w.min() < 0 else 240)

    return _edited(s, edit)


@fault("w138_rounded_down", ("qdq", "castmul", "qop"), debatable="every element is within one step")
def rounded_down(s: Subject) -> Planted:
    """floor instead of nearest, on one layer."""
    return _rounded(s, np.floor)


@fault("w139_truncated", ("qdq", "castmul", "qop"), debatable="every element is within one step")
def truncated(s: Subject) -> Planted:
    """Towards zero instead of nearest, on one layer."""
    return _rounded(s, np.trunc)


def _source(s: Subject, weight: graph.Weight) -> np.ndarray:
    known = graph.initializers(s.model.proto)
    for suffix in ("_quantized", "_q"):
        name = weight.tensor.removesuffix(suffix)
        if name in known and list(known[name].dims) == list(
            graph.initializers(s.candidate)[weight.tensor].dims
        ):
            return graph.array(s.model.proto, name).astype(np.float64)
    raise NoPlaceError("the float weight is not known")


def _rounded(s: Subject, how) -> Planted:
    weight = s.weight()
    value, scale = _source(s, weight), graph.array(s.candidate, weight.scale).astype(np.float64)
    if scale.ndim and scale.size > 1:
        scale = (
            scale.reshape([-1 if i == weight.axis else 1 for i in range(value.ndim)])
            if scale.ndim == 1
            else scale
        )
        if scale.ndim != value.ndim or any(
            b not in (1, a) for a, b in zip(value.shape, scale.shape, strict=True)
        ):
            raise NoPlaceError("blocked scales")
    return _edited(s, lambda w, axis: np.clip(how(value / scale + _centre(s)), w.min(), w.max()))


@fault("w140_layers_swapped")
def layers_swapped(s: Subject) -> Planted:
    """Two weights of one shape exchanged, scales left."""
    model = s.copy()
    found = graph.weights(model)
    stored = graph.initializers(model)
    for i, first in enumerate(found):
        for second in found[i + 1 :]:
            same = list(stored[first.tensor].dims) == list(stored[second.tensor].dims)
            if same and stored[first.tensor].data_type == stored[second.tensor].data_type:
                a, b = graph.array(model, first.tensor), graph.array(model, second.tensor)
                graph.put(model, first.tensor, b)
                graph.put(model, second.tensor, a)
                return Planted(model, [*names(first), *names(second)])
    raise NoPlaceError("no two weights of one shape")


@fault("w141_one_layer_of_another_training")
def one_layer_retrained(s: Subject) -> Planted:
    """One weight (with its scale) taken from another training of the same architecture."""
    model, weight = s.copy(), s.weight(1)
    donor = graph.initializers(s.requantize(s.retrain(1)))
    for name in (weight.tensor, weight.scale, weight.zero_point):
        if name and name in donor and name in graph.initializers(model):
            if list(donor[name].dims) != list(graph.initializers(model)[name].dims):
                raise NoPlaceError("the donor has other shapes")
            graph.initializers(model)[name].CopyFrom(donor[name])
    return Planted(model, [*names(weight), *([weight.scale] if weight.scale else [])])


@fault("w142_drift_2_percent")
def drift(s: Subject) -> Planted:
    """One float weight fine-tuned by 2 % before quantizing."""
    changed = graph.clone(s.model.proto)
    known = graph.float_weights(changed)
    name = max((name for name, _ in known), key=lambda n: graph.array(changed, n).size)
    value = graph.array(changed, name)
    noise = s.rng.normal(0, 0.02, value.shape) * np.abs(value).mean()
    graph.put(changed, name, (value + noise).astype(np.float32))
    import dataclasses

    model = s.requantize(dataclasses.replace(s.model, proto=changed))
    near = [name, name + "_quantized", name + "_q", name + "_Q4", name + "_kn_Q4"]
    users = [graph.label(node) for n, node in known if n == name]
    if name not in graph.initializers(model):
        matched = [w for w in graph.weights(model) if name in w.tensor]
        near = [x for w in matched for x in (w.tensor, w.scale) if x] or near
    return Planted(model, [*near, *users, "model"] if not graph.weights(model) else [*near, *users])


@fault("w143_nan_weight", ("half",))
def nan_weight(s: Subject) -> Planted:
    return _edited(s, lambda w, axis: _on_channel(w, axis, 0, np.nan))


@fault("w144_inf_weight", ("half",))
def inf_weight(s: Subject) -> Planted:
    def edit(w, axis):
        out = w.copy()
        out.reshape(-1)[3] = np.inf
        return out

    return _edited(s, edit)


@fault("w145_one_byte_shift", ("qdq", "qop", "nbits", "dynamic"))
def byte_shift(s: Subject) -> Planted:
    """The stored bytes moved on by one, as by a wrong offset."""
    return _edited(s, lambda w, axis: np.roll(w.reshape(-1), 1).reshape(w.shape))


@fault("w146_all_noise")
def noise(s: Subject) -> Planted:
    """Contents of the same distribution, shuffled."""
    return _edited(s, lambda w, axis: s.rng.permutation(w.reshape(-1)).reshape(w.shape))


@fault("w147_nibbles_swapped", ("nbits",))
def nibbles(s: Subject) -> Planted:
    """Low and high halves of every packed byte exchanged: the other packing order."""
    return _edited(s, lambda w, axis: (w.astype(np.int64) >> 4) | ((w.astype(np.int64) & 15) << 4))


def _float_weight(s: Subject) -> tuple[str, str]:
    known = [e for e in graph.float_weights(s.candidate) if e[0] in graph.initializers(s.candidate)]
    if not known:
        raise NoPlaceError("no float weight")
    name, node = known[len(known) // 2]
    return name, graph.label(node)


@fault("w150_float_bit_flipped", ("float",))
def float_flip(s: Subject) -> Planted:
    """Bit 22 of one float32 weight: up to half of its value."""
    model = s.copy()
    name, node = _float_weight(s)
    return Planted(model, [name, node], flip(model, name, _element(s, model, name), 22))


@fault("w151_float_channels_swapped", ("float",))
def float_channels(s: Subject) -> Planted:
    model = s.copy()
    name, node = _float_weight(s)
    value = graph.array(model, name)
    order = np.arange(value.shape[0])
    order[[0, -1]] = order[[-1, 0]]
    graph.put(model, name, value[order])
    return Planted(model, [name, node])


@fault("w152_one_class_suppressed")
def class_suppressed(s: Subject) -> Planted:
    """The bias of one class lowered: that class is hardly ever chosen again."""
    model = s.copy()
    found = graph.biases(model)
    if not found or s.model.task != "top1":
        raise NoPlaceError("no class bias")
    tensor, _, node = found[-1]
    value = graph.array(model, tensor)
    fresh = value.copy()
    fresh[1] -= np.asarray(0.5 * max(np.abs(value.astype(np.float64)).max() * 4, 1)).astype(value.dtype)
    graph.put(model, tensor, fresh)
    return Planted(model, [tensor, node])
