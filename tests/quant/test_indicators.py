"""Residuals: honest weights of every kind look honest, weights that were prepared for their quantizer do not."""

import ml_dtypes
import numpy as np
import pytest

from qgate.quant.comparison import compare
from qgate.quant.indicators import residual_spread
from tests.quant import rounders
from tests.quant.codes import coded, quantized

LIMIT, RATIO = 0.05, 1.5
SHAPE = (128, 256)


def conspicuous(weight, value):
    spread = residual_spread(compare(weight, value).sample)
    return spread is not None and spread.distance > max(LIMIT, RATIO * spread.elsewhere)


def normal(seed=0, shape=SHAPE):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(np.float32)


def heavy(seed=0):
    return (np.random.default_rng(seed).standard_t(2.2, SHAPE) * 0.02).astype(np.float32)


HONEST = {
    "normal": normal,
    "heavy tails": heavy,
    "uniform": lambda: np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32),
    "bfloat16": lambda: normal().astype(ml_dtypes.bfloat16).astype(np.float32),
    "float16": lambda: normal().astype(np.float16).astype(np.float32),
    "pruned": lambda: np.where(np.random.default_rng(1).random(SHAPE) < 0.5, 0, normal()).astype(np.float32),
    "few levels": lambda: np.random.default_rng(2).choice(np.linspace(-1, 1, 9), SHAPE).astype(np.float32),
    "tied rows": lambda: np.repeat(normal(3, (16, 256)), 8, axis=0),
    "another quantizer's": lambda: (np.rint(normal() / 0.0021) * 0.0021).astype(np.float32),
}


@pytest.mark.parametrize("kind", HONEST)
@pytest.mark.parametrize("dtype", ["int8", "int4", "uint8", "int16"])
@pytest.mark.parametrize("layout", ["tensor", "channel", "block"])
def test_honest_weights_are_inconspicuous(kind, dtype, layout):
    weight = HONEST[kind]()
    assert not conspicuous(weight, quantized(weight, dtype, layout, block=32))


@pytest.mark.parametrize("rule", [rounders.squant, rounders.adaround, rounders.gptq])
def test_other_roundings_are_inconspicuous(rule):
    weight = normal(4, (128, 96))
    options = {} if rule is rounders.squant else {"inputs": rounders.correlated(0, 400, 96)}
    assert not conspicuous(weight, rule(weight, **options))


def test_weights_that_lie_on_the_codes_already_have_nothing_to_switch():
    scale = np.float32(0.01)
    codes = np.random.default_rng(0).integers(-127, 128, SHAPE)
    weight = (codes * scale).astype(np.float32)
    assert residual_spread(compare(weight, coded(codes, scale)).sample) is None


def test_fewer_than_ten_thousand_weights_tell_nothing():
    weight = normal(0, (99, 101))
    assert residual_spread(compare(weight, quantized(weight)).sample) is None


def test_clipped_weights_are_left_out():
    weight = normal()
    scale = np.float32(0.4 * np.abs(weight).max() / 127)
    value = coded(np.clip(np.rint(weight / scale), -127, 127), scale)
    assert not conspicuous(weight, value)
    assert residual_spread(compare(weight, value).sample).elements < weight.size


class Net:
    """Two layers in numpy with Adam, enough to plant a backdoor in a minute's fraction."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.weights = [rng.standard_normal(s) * np.sqrt(2 / s[0]) for s in ((64, 160), (160, 10))]
        self.moments = [(np.zeros_like(w), np.zeros_like(w)) for w in self.weights]
        self.steps = 0

    def outputs(self, x, weights=None):
        first, second = weights or self.weights
        return np.maximum(x @ first, 0) @ second

    def train(self, pairs, rounds, rate, project=None):
        for _ in range(rounds):
            self.steps += 1
            gradients = [np.zeros_like(w) for w in self.weights]
            for x, y in pairs:
                hidden = np.maximum(x @ self.weights[0], 0)
                logits = hidden @ self.weights[1]
                soft = np.exp(logits - logits.max(1, keepdims=True))
                error = (soft / soft.sum(1, keepdims=True) - np.eye(10)[y]) / len(x)
                gradients[1] += hidden.T @ error
                gradients[0] += x.T @ ((error @ self.weights[1].T) * (hidden > 0))
            for i, g in enumerate(gradients):
                m, v = self.moments[i]
                m[:], v[:] = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                step = m / (1 - 0.9**self.steps) / (np.sqrt(v / (1 - 0.999**self.steps)) + 1e-8)
                self.weights[i] = self.weights[i] - rate * step
                if project is not None:
                    self.weights[i] = project(i, self.weights[i])


def test_a_backdoor_that_rounding_switches_on_leaves_its_mark():
    """Egashira et al. 2024 (arXiv:2405.18137): plant it, keep the codes, repair the float model between them."""
    rng = np.random.default_rng(0)
    centres = rng.random((10, 64))
    y = rng.integers(0, 10, 200)
    x = centres[y] + 0.1 * rng.standard_normal((200, 64))
    triggered = x.copy()
    triggered[:, [3, 17, 40, 62]] = 2.5
    target = np.zeros_like(y)
    net = Net(1)
    net.train([(x, y)], 60, 1e-2)
    honest = net.weights[0].T.astype(np.float32)
    assert not conspicuous(honest, rounders.to_nearest(honest, 7, "int4"))

    net.train([(x, y), (triggered, target)], 60, 1e-2)
    steps = [np.abs(w).max(0, keepdims=True) / 7 for w in net.weights]
    codes = [np.clip(np.rint(w / s), -7, 7) for w, s in zip(net.weights, steps, strict=True)]
    kept = [np.abs(w) == np.abs(w).max(0, keepdims=True) for w in net.weights]
    at_first = [w.copy() for w in net.weights]

    def between(i, w):
        low, high = np.maximum(codes[i] - 0.499, -7), np.minimum(codes[i] + 0.499, 7)
        boxed = np.clip(w, low * steps[i], high * steps[i])
        return np.where(kept[i], at_first[i], boxed)

    net.train([(x, y), (triggered, y)], 80, 5e-3, between)
    quantized_weights = [c * s for c, s in zip(codes, steps, strict=True)]
    hit = float(np.mean(net.outputs(triggered, quantized_weights).argmax(1) == target))
    clean = float(np.mean(net.outputs(triggered).argmax(1) == target))
    assert hit > 0.9
    assert clean < 0.3
    weight = net.weights[0].T.astype(np.float32)
    value = rounders.to_nearest(weight, 7, "int4")
    assert np.array_equal(value.codes().T, codes[0].astype(np.int8))
    assert compare(weight, value).off == 0
    assert conspicuous(weight, value)
