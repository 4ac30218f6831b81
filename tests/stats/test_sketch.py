"""The sketch keeps the same pairs however the samples are cut, and all of them where they are few."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgate.stats.sketch import LEAST, PER_SAMPLE, SIZE, PairSketch, sketch_size


def pairs(samples, width, seed=0):
    generator = np.random.default_rng(seed)
    reference = generator.standard_normal((samples, width)).astype(np.float32)
    return reference, reference + np.float32(0.5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 60), st.data())
def test_any_cut_and_any_order_give_the_same_bits(samples, width, size, drawn):
    reference, candidate = pairs(samples, width)
    whole = PairSketch(size)
    whole.add(reference, candidate, 0)
    cuts = sorted(drawn.draw(st.sets(st.integers(1, samples))))
    bounds = [0, *cuts, samples]
    parts = []
    for start, stop in itertools.pairwise(bounds):
        part = PairSketch(size)
        part.add(reference[start:stop], candidate[start:stop], start)
        parts.append(part)
    merged = PairSketch(size)
    for part in drawn.draw(st.permutations(parts)):
        merged.merge(part)
    assert merged.seen == whole.seen == reference.size
    for one, two in zip(merged.values(), whole.values(), strict=True):
        assert one.tobytes() == two.tobytes()
    assert len(whole.values()[0]) == min(size, reference.size)


def test_all_are_kept_where_they_are_few_and_pairs_stay_pairs():
    reference, candidate = pairs(7, 11)
    sketch = PairSketch()
    sketch.add(reference, candidate, 100)
    left, right = sketch.values()
    assert sorted(left) == sorted(reference.astype(np.float64).reshape(-1))
    assert np.array_equal(left.astype(np.float32) + np.float32(0.5), right.astype(np.float32))


def test_a_long_sample_is_read_at_places_spread_over_all_of_it():
    width = 10 * PER_SAMPLE + 7
    places = np.broadcast_to(np.arange(width, dtype=np.float64), (3, width))
    sketch = PairSketch()
    sketch.add(places, places, 0)
    left, right = sketch.values()
    assert sketch.seen == len(left) == 3 * PER_SAMPLE
    assert np.array_equal(left, right)
    assert np.max(np.diff(np.sort(left))) <= width / PER_SAMPLE + 1
    assert len(np.unique(left)) > 2 * PER_SAMPLE, "every sample is read at places of its own"


def test_what_is_kept_is_spread_like_all_there_is():
    values = np.arange(200_000, dtype=np.float64).reshape(400, 500)
    sketch = PairSketch(4096)
    sketch.add(values, values, 0)
    kept = sketch.values()[0] / values.size
    assert np.max(np.abs(np.sort(kept) - (np.arange(4096) + 0.5) / 4096)) < 1.63 / 64  # Kolmogorov, 1 %


def test_what_is_not_finite_on_either_side_is_left_out():
    reference = np.array([[1.0, np.nan, 3.0], [np.inf, 5.0, 6.0]])
    candidate = np.array([[1.0, 2.0, np.nan], [4.0, 5.0, -np.inf]])
    sketch = PairSketch()
    sketch.add(reference, candidate, 0)
    assert sketch.seen == 2
    assert sorted(sketch.values()[0]) == [1.0, 5.0]


def test_nothing_is_nothing_and_other_shapes_are_refused():
    sketch = PairSketch()
    sketch.add(np.zeros((0, 3)), np.zeros((0, 3)), 0)
    sketch.add(np.zeros((3, 0)), np.zeros((3, 0)), 0)
    assert [len(side) for side in sketch.values()] == [0, 0]
    with pytest.raises(ValueError, match="shapes differ"):
        sketch.add(np.zeros((2, 3)), np.zeros((3, 2)), 0)


def test_many_tensors_share_the_memory():
    assert sketch_size(0) == sketch_size(1) == SIZE
    assert sketch_size(1000) == LEAST
    assert 64 * sketch_size(64) == 1 << 18
