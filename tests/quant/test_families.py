"""Which rounding a model was made with: real rules are recognised, damage and drift are not taken for one."""

import numpy as np
import pytest

from qgate.quant.columns import exact_columns
from qgate.quant.comparison import compare
from qgate.quant.derivation import conclude, derive
from qgate.quant.families import Family, family_of
from tests.quant import rounders
from tests.quant.codes import flipped, quantized, with_codes

SHAPES = [(48, 96), (64, 64), (32, 160)]


def layers(seed=0, tail=0.4):
    rng = np.random.default_rng(seed)
    return [
        (rng.standard_normal(s) * 0.05 * np.exp(tail * rng.standard_normal(s))).astype(np.float32)
        for s in SHAPES
    ]


def judged(weights, values):
    """Family of a model, and the verdicts on its tensors under it."""
    found = [compare(w, v) for w, v in zip(weights, values, strict=True)]
    alone = [conclude(f, v) for f, v in zip(found, values, strict=True)]
    family = family_of(alone, lambda: [exact_columns(w, v) for w, v in zip(weights, values, strict=True)])
    return family, [conclude(f, v, rounding=family) for f, v in zip(found, values, strict=True)]


def by(rule, **options):
    weights = layers()
    if rule in (rounders.gptq, rounders.adaround):
        made = [rule(w, rounders.correlated(i, 400, w.shape[1]), **options) for i, w in enumerate(weights)]
    else:
        made = [rule(w, **options) for w in weights]
    return weights, made


EIGHT, FOUR = {"top": 127, "dtype": "int8"}, {"top": 7, "dtype": "int4"}


@pytest.mark.parametrize("options", [EIGHT, FOUR], ids=["int8", "int4"])
@pytest.mark.parametrize(
    ("rule", "family"),
    [
        (rounders.to_nearest, Family.NEAREST),
        (rounders.squant, Family.ADAPTIVE),
        (rounders.adaround, Family.ADAPTIVE),
        (rounders.gptq, Family.COMPENSATED),
    ],
)
def test_a_rule_is_recognised_and_what_it_made_follows_from_the_reference(rule, family, options):
    weights, made = by(rule, **options)
    found, verdicts = judged(weights, made)
    assert found == family
    expected = {"derived"} if family == Family.NEAREST else {"derived", "other-rounding"}
    assert {v.verdict for v in verdicts} <= expected


@pytest.mark.parametrize("options", [EIGHT, FOUR], ids=["int8", "int4"])
@pytest.mark.parametrize("rule", [rounders.squant, rounders.adaround, rounders.gptq])
def test_a_flipped_bit_in_what_a_rule_made_is_located(rule, options):
    weights, made = by(rule, **options)
    top = 2 if options is FOUR else 6
    value = made[1]
    index = (5, 9)
    # The bit that takes the code furthest from its weight and no further than the type.
    made[1] = flipped(value, index, top)
    _, verdicts = judged(weights, made)
    assert verdicts[1].verdict == "outsiders"
    assert verdicts[1].outsiders[0].index == index
    assert verdicts[1].outsiders[0].stored == made[1].stored()[index]
    assert all(v.verdict != "outsiders" for v in (verdicts[0], verdicts[2]))


def test_gptq_on_inputs_of_few_directions_is_told_by_the_column_that_it_takes_first():
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal((256, n)) * 0.05).astype(np.float32) for n in (48, 64)]
    made = [
        rounders.gptq(w, rounders.correlated(i, 400, w.shape[1], rank=30, share=0.9999), damping=1e-3)
        for i, w in enumerate(weights)
    ]
    assert [exact_columns(w, v) for w, v in zip(weights, made, strict=True)] == [True, True]
    assert np.mean([derive(w, v).beyond_one for w, v in zip(weights, made, strict=True)]) > 0.05
    family, verdicts = judged(weights, made)
    assert family == Family.COMPENSATED
    assert {v.verdict for v in verdicts} == {"other-rounding"}
    drifted = [
        with_codes(
            v, np.clip(v.codes() + np.rint(np.random.default_rng(1).normal(0, 1.0, v.shape)), -128, 127)
        )
        for v in map(rounders.to_nearest, weights)
    ]
    assert [exact_columns(w, v) for w, v in zip(weights, drifted, strict=True)] == [False, False]
    family, verdicts = judged(weights, drifted)
    assert family == Family.NEAREST
    assert {v.verdict for v in verdicts} == {"not-derived"}


def test_columns_of_a_small_or_unmoved_weight_tell_nothing():
    weight = layers()[0][:2, :4]
    assert exact_columns(weight, rounders.to_nearest(weight)) is None
    assert exact_columns(layers()[0], rounders.to_nearest(layers()[0])) is None
    scale = quantized(weight)
    assert exact_columns(weight[:, :0], with_codes(scale, np.zeros((2, 0)))) is None


@pytest.mark.parametrize("flips", [1, 2, 8, 40])
@pytest.mark.parametrize("bit", [0, 1, 3])
def test_flipped_bits_are_no_rule(flips, bit):
    weights = layers()
    made = [rounders.to_nearest(w) for w in weights]
    rng = np.random.default_rng(flips)
    places = [(int(rng.integers(3)), int(rng.integers(32)), int(rng.integers(64))) for _ in range(flips)]
    places = list(dict.fromkeys(places))
    for layer, i, j in places:
        made[layer] = flipped(made[layer], (i, j), bit)
    family, verdicts = judged(weights, made)
    assert family == Family.NEAREST
    assert sum(v.count for v in verdicts) == len(places)


def test_a_payload_in_the_lowest_bits_is_no_rule():
    weights = layers()
    made = []
    for seed, weight in enumerate(weights):
        value = rounders.to_nearest(weight)
        bits = np.random.default_rng(seed).integers(0, 2, value.shape)
        made.append(with_codes(value, (value.stored() & ~1) | bits))
    family, verdicts = judged(weights, made)
    assert family == Family.NEAREST
    assert {v.verdict for v in verdicts} == {"not-derived"}


def test_a_model_that_was_trained_on_a_little_is_no_rounding_of_its_origin():
    weights = layers()
    rng = np.random.default_rng(3)
    tuned = [w + (0.02 * w.std() * rng.standard_normal(w.shape)).astype(np.float32) for w in weights]
    family, verdicts = judged(weights, [rounders.to_nearest(w) for w in tuned])
    assert family == Family.NEAREST
    assert all(v.verdict == "not-derived" and "not the nearest" in v.reason for v in verdicts)
    assert all(1 < v.max_steps < 10 for v in verdicts)
