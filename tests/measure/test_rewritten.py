"""Weights of a rewritten graph are told from weights that were exchanged; neither passes."""

import numpy as np
import pytest

from tests.quant.net import derivations, inspect, named
from tests.quant.twin import model

RNG = np.random.default_rng(3)
BLOCKS = 5
HELD = {f"w{i}": (RNG.standard_normal((12, 12)) * 0.3).astype(np.float32) for i in range(BLOCKS)}
HELD |= {f"b{i}": RNG.standard_normal(12).astype(np.float32) for i in range(BLOCKS)}


def net(held, fused=(), reads=range(BLOCKS), name="{}"):
    """Equal blocks one after another, some of them fused; ``reads`` says which weight each block reads."""
    text, last = [], "x"
    for i, weight in enumerate(reads):
        w, b = name.format(f"w{weight}"), name.format(f"b{weight}")
        if i in fused:
            text.append(f"t{i} = com.microsoft.FusedBlock ({last}, {w}, {b})")
        else:
            text.append(f"m{i} = MatMul ({last}, {w}) a{i} = Add (m{i}, {b}) t{i} = Tanh (a{i})")
        last = f"t{i}"
    text.append(f"y = Softmax ({last})")
    renamed = {name.format(key): values for key, values in held.items()}
    return model(f"g (float[2,12] x) => (float[2,12] y) {{{' '.join(text)}}}", **renamed)


def told(found):
    """Kind of the diagnosis and what it is told to be, by the candidate's tensor that is not derived."""
    return {
        name: (m.detail["diagnosis"]["kind"], m.detail["diagnosis"].get("derived_from"))
        for name, m in derivations(found).items()
        if m.value != "derived" and "diagnosis" in m.detail
    }


def test_blocks_beside_a_fused_one_are_the_references_own_elsewhere(tmp_path):
    found = inspect(net(HELD), net(HELD, fused={BLOCKS - 1}), tmp_path)
    assert named(found, "structure.difference")
    off = {name for name, m in derivations(found).items() if m.value != "derived"}
    assert {"w0", "w1", "b0", "b1"} <= off
    assert told(found) == {name: ("rewritten", name) for name in off}
    says = derivations(found)["w1"].detail["diagnosis"]["message"]
    assert "this is the reference's 'w1', which stands elsewhere: the graph was rewritten" in says


def test_the_references_own_as_halves_are_so_too(tmp_path):
    halves = {name: values.astype(np.float16) for name, values in HELD.items()}
    theirs = net(halves, fused={BLOCKS - 1})
    for given in (*theirs.graph.input, *theirs.graph.output):
        given.type.tensor_type.elem_type = 10
    kinds = told(inspect(net(HELD), theirs, tmp_path))
    assert kinds
    assert all(kinds[name] == ("rewritten", name) for name in kinds)


def test_a_renamed_weight_is_found_among_what_has_no_counterpart(tmp_path):
    found = inspect(net(HELD), net(HELD, fused={BLOCKS - 1}, name="n_{}"), tmp_path)
    off = {name for name, m in derivations(found).items() if m.value != "derived"}
    assert off
    assert ("rewritten", "w0") in told(found).values()
    for kind, source in told(found).values():
        assert (kind, source) in {("swapped", None), ("rewritten", "w0")}


def test_other_weights_beside_a_fused_block_are_other_weights(tmp_path):
    rng = np.random.default_rng(8)
    other = {name: rng.permutation(values.reshape(-1)).reshape(values.shape) for name, values in HELD.items()}
    found = inspect(net(HELD), net(other, fused={BLOCKS - 1}), tmp_path)
    kinds = {kind for kind, _ in told(found).values()}
    assert "other-weights" in kinds
    assert "rewritten" not in kinds


def test_one_element_that_was_edited_is_not_the_references_own(tmp_path):
    held = {name: values.copy() for name, values in HELD.items()}
    for values in held.values():
        values.flat[5] += 0.5
    found = inspect(net(HELD), net(held, fused={BLOCKS - 1}), tmp_path)
    assert "rewritten" not in {kind for kind, _ in told(found).values()}


@pytest.mark.parametrize("how", ["values", "wires"])
def test_a_pair_that_was_exchanged_is_named_as_exchanged(how, tmp_path):
    exchanged = {**HELD, "w1": HELD["w3"], "w3": HELD["w1"]}
    theirs = net(exchanged) if how == "values" else net(HELD, reads=(0, 3, 2, 1, 4))
    found = inspect(net(HELD), theirs, tmp_path)
    assert {name: kind for name, (kind, _) in told(found).items() if name[0] == "w"} == {
        "w1": "swapped", "w3": "swapped",
    }  # fmt: skip
    assert named(found, "structure.difference") == []


def test_values_that_were_exchanged_beside_a_fused_block_are_never_derived(tmp_path):
    held = {**HELD, "w1": HELD["w3"], "w3": HELD["w1"]}
    found = inspect(net(HELD), net(held, fused={0}), tmp_path)
    off = {name for name, m in derivations(found).items() if m.value != "derived"}
    assert {"w1", "w3"} <= off
    assert {told(found)[name] for name in ("w1", "w3")} == {("swapped", None)}
