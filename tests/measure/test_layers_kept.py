"""Layers that are left out of the comparison leave the others' order whole."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qgate.measure.layers.layer import CODES, Layer
from qgate.measure.layers.plan import keep_layers


def layer(name: str, *before: int) -> Layer:
    return Layer(name, f"{name}_codes", CODES, name, "Conv", before=before)


def test_what_read_a_layer_that_is_left_out_reads_what_that_one_read() -> None:
    a, b, c, d = layer("a"), layer("b", 0), layer("c", 1), layer("d", 0, 2)
    kept = keep_layers((a, b, c, d), lambda each: each.reference != "b")
    assert [(each.reference, each.before) for each in kept] == [("a", ()), ("c", (0,)), ("d", (0, 1))]


def test_the_first_layer_may_be_left_out() -> None:
    kept = keep_layers((layer("a"), layer("b", 0)), lambda each: each.reference != "a")
    assert [(each.reference, each.before) for each in kept] == [("b", ())]


@given(st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 30), max_size=4)), max_size=30))
def test_positions_are_those_of_layers_that_are_kept_and_stand_above(drawn) -> None:
    layers = tuple(
        layer(str(place), *sorted(each for each in before if each < place))
        for place, (_, before) in enumerate(drawn)
    )
    kept = keep_layers(layers, lambda each: drawn[int(each.reference)][0])
    assert [each.reference for each in kept] == [str(i) for i, (keep, _) in enumerate(drawn) if keep]
    for place, each in enumerate(kept):
        assert all(above < place for above in each.before)
        direct = {kept[above].reference for above in each.before}
        assert {str(above) for above in layers[int(each.reference)].before if drawn[above][0]} <= direct
