# ruff: noqa: E501 - one graph a line
"""What runtimes optimise away without changing a number: Casts that change nothing, and what is computed twice."""

import numpy as np
import pytest

from qgate.align.walk import align
from qgate.formats.read import read_model
from qgate.quant.build import float_view
from qgate.quant.repeated import merge_repeated, reference_view
from qgate.quant.types import widens
from tests.quant.twin import model, run, save, view_of

HEAD = "g (float[N,8] x) => (float[M] y)"
HELD = {
    "none": np.array([-1], np.int64), "zero": np.int64(0), "other": np.int64(0), "one": np.int64(1), "axis": np.array([0], np.int64),
    "two": np.array([0], np.int64), "last": np.array([1], np.int64),
}  # fmt: skip


def casts(text, folder, head=HEAD, **held):
    view = view_of(model(f"{head} {{{text}}}", **{**HELD, **held}), folder)
    return [n.attributes["to"] for n in view.nodes if n.op == "Cast"]


SIZE = "s = Shape (x) n = Gather (s, zero)"
INT = "g (int32[N] i, float[N] x) => (float[N] y)"


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (
            HEAD,
            f"{SIZE} c = Cast <to = 7> (n) d = Cast <to = 7> (c) v = Unsqueeze (d, axis) y = Reshape (x, v)",
        ),
        (HEAD, f"{SIZE} d = Div (n, one) c = Cast <to = 7> (d) v = Unsqueeze (c, axis) y = Reshape (x, v)"),
        (INT, "a = Cast <to = 6> (i) y = Gather (x, a)"),
        (INT, "a = Cast <to = 7> (i) b = Cast <to = 6> (a) y = Gather (x, b)"),
        (INT, "a = Cast <to = 11> (i) b = Cast <to = 6> (a) y = Gather (x, b)"),
        (
            "g (bool[N] i, float[N] x) => (float[N] y)",
            "a = Cast <to = 1> (i) b = Cast <to = 9> (a) y = Where (b, x, x)",
        ),
    ],
)
def test_a_cast_to_a_tensors_own_type_or_there_and_back_is_none(head, text, tmp_path):
    assert casts(text, tmp_path, head) == []


@pytest.mark.parametrize(
    ("head", "text", "kept"),
    [
        # Not the type that it has.
        (HEAD, f"{SIZE} c = Cast <to = 6> (n) v = Unsqueeze (c, axis) w = Cast <to = 7> (v) y = Reshape (x, w)", 2),
        # There and back, but not every value comes through.
        (INT, "a = Cast <to = 3> (i) b = Cast <to = 6> (a) y = Gather (x, b)", 2),
        (INT, "a = Cast <to = 1> (i) b = Cast <to = 6> (a) y = Gather (x, b)", 2),
        (INT, "a = Cast <to = 12> (i) b = Cast <to = 6> (a) y = Gather (x, b)", 2),
        ("g (int64[N] i, float[N] x) => (float[N] y)", "a = Cast <to = 11> (i) b = Cast <to = 7> (a) y = Gather (x, b)", 2),
        # To another type and not back.
        (INT, "a = Cast <to = 3> (i) b = Cast <to = 7> (a) y = Gather (x, b)", 2),
        # Whole numbers of a float: the fraction is gone.
        ("g (float[N] x) => (float[N] y)", "a = Cast <to = 7> (x) y = Cast <to = 1> (a)", 2),
        # What a custom operator makes is not known, whatever the file says.
        (HEAD, "n = com.microsoft.Unheard (x) c = Cast <to = 7> (n) y = Reshape (x, c)", 1),
    ],
)  # fmt: skip
def test_a_cast_that_may_change_something_stays(head, text, kept, tmp_path):
    assert len(casts(text, tmp_path, head)) == kept


def test_what_a_file_claims_of_an_inner_tensor_is_not_believed(tmp_path):
    proto = model(
        f"{HEAD} <int64[K] n> {{n = com.microsoft.Unheard (x) c = Cast <to = 7> (n) y = Reshape (x, c)}}"
    )
    assert proto.graph.value_info[0].name == "n"
    assert [n.op for n in view_of(proto, tmp_path).nodes] == ["Unheard", "Cast", "Reshape"]


@pytest.mark.parametrize(
    ("narrow", "into"),
    [
        ("bool", "int8 uint8 int16 uint16 int32 uint32 int64 uint64 bfloat16 float16 float double"),
        ("int8", "int8 int16 int32 int64 bfloat16 float16 float double"),
        ("uint8", "uint8 int16 uint16 int32 uint32 int64 uint64 bfloat16 float16 float double"),
        ("int16", "int16 int32 int64 float double"),
        ("uint16", "uint16 int32 uint32 int64 uint64 float double"),
        ("int32", "int32 int64 double"),
        ("uint32", "uint32 int64 uint64 double"),
        ("int64", "int64"),
        ("uint64", "uint64"),
        ("float16", ""),
        ("float", ""),
        ("string", ""),
        ("", ""),
    ],
)
def test_a_type_widens_where_every_value_comes_back(narrow, into):
    kinds = [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bfloat16",
        "float16",
        "float",
        "double",
        "string",
    ]
    assert [kind for kind in kinds if widens(narrow, kind)] == into.split()


TWICE = (
    "s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, axis) a = Concat <axis = 0> (u, none) p = Reshape (x, a) "
    "t = Shape (x) m = Gather (t, other) v = Unsqueeze (m, two) b = Concat <axis = 0> (v, none) q = Reshape (x, b) "
    "r = Exp (q) y = Sub (p, r)"
)
ONCE = (
    "s = Shape (x) n = Gather (s, other) u = Unsqueeze (n, two) a = Concat <axis = 0> (u, none) q = Reshape (x, a) "
    "r = Exp (q) y = Sub (q, r)"
)


def differences(ours, theirs, folder, **held):
    held = {**HELD, **held}
    one = reference_view(read_model(save(model(f"{HEAD} {{{ours}}}", **held), folder, "one")))
    two = view_of(model(f"{HEAD} {{{theirs}}}", **held), folder, "two")
    found = align(one, two, {}, {})
    loose = found.unmatched_reference + found.unmatched_candidate
    other = [p for p in found.constants if not np.array_equal(p.reference.values(), p.candidate.values())]
    return [d.kind for d in found.differences] + ["unmatched"] * len(loose) + ["constant"] * len(other)


@pytest.mark.parametrize(("ours", "theirs"), [(TWICE, ONCE), (ONCE, TWICE), (TWICE, TWICE), (ONCE, ONCE)])
def test_what_is_computed_twice_is_one(ours, theirs, tmp_path):
    feeds = {"x": np.arange(24, dtype=np.float32).reshape(3, 8) / 24}
    made = [run(model(f"{HEAD} {{{text}}}", **HELD), feeds)[0] for text in (ours, theirs)]
    np.testing.assert_array_equal(*made)
    assert differences(ours, theirs, tmp_path) == []


@pytest.mark.parametrize(
    ("changed", "into"),
    [
        ("t = Shape (x)", "t = Shape <start = 1> (x)"),
        ("m = Gather (t, other)", "m = Gather (t, one)"),
        ("b = Concat <axis = 0> (v, none)", "b = Concat <axis = 0> (none, v)"),
    ],
)
def test_two_that_differ_in_an_attribute_or_an_operand_are_not(changed, into, tmp_path):
    assert changed in TWICE
    spoiled = TWICE.replace(changed, into)
    for pair in ((spoiled, ONCE), (spoiled, TWICE), (TWICE, spoiled), (ONCE, spoiled)):
        assert differences(*pair, tmp_path) != []
    assert differences(spoiled, spoiled, tmp_path) == []


@pytest.mark.parametrize(
    "two",
    [
        "a = RandomNormalLike (x) b = RandomNormalLike (x)",
        "a = RandomNormalLike <seed = 1.0> (x) b = RandomNormalLike <seed = 1.0> (x)",
        "a = RandomUniformLike (x) b = RandomUniformLike (x)",
        "a = Bernoulli (x) b = Bernoulli (x)",
        "a = Dropout (x, ratio, yes) b = Dropout (x, ratio, yes)",
        "a = com.microsoft.Unheard (x) b = com.microsoft.Unheard (x)",
        "a = LeakyRelu <alpha = 0.1> (x) b = LeakyRelu <alpha = 0.1000001> (x)",
        "a = Softmax <axis = 0> (x) b = Softmax <axis = 1> (x)",
        "a = Add (x, f) b = Add (x, g)",
        "a = Sub (x, f) b = Sub (f, x)",
    ],
)
def test_operations_that_draw_numbers_or_differ_are_never_merged(two, tmp_path):
    held = {
        "ratio": np.float32(0.5),
        "yes": np.array(True),
        "f": np.float32(1.0),
        "g": np.nextafter(np.float32(1), np.float32(2)),
    }
    view = view_of(model(f"{HEAD} {{{two} y = Sub (a, b)}}", **held), tmp_path)
    merge_repeated(view)
    assert len(view.nodes) == 3


def test_branches_with_quantizers_of_their_own_stay_two(tmp_path):
    text = f"{HEAD} {{a = Exp (x) b = Exp (x) q = QuantizeLinear (a, s, z) d = DequantizeLinear (q, s, z) y = Sub (d, b)}}"
    view = view_of(model(text, s=np.float32(0.1), z=np.uint8(0)), tmp_path)
    merge_repeated(view)
    assert [n.op for n in view.nodes] == ["Exp", "Exp", "Sub"]


def test_a_candidates_own_view_keeps_what_it_computes_twice(tmp_path):
    view = float_view(read_model(save(model(f"{HEAD} {{{TWICE}}}", **HELD), tmp_path)))
    assert sum(n.op == "Concat" for n in view.nodes) == 2


def test_outputs_and_bodies_read_the_one_that_is_left(tmp_path):
    text = """g (float[2] x, bool c) => (float[2] y, float[2] w) {
        a = Exp (x) w = Exp (x)
        y = If (c) <then_branch = t () => (float[2] i) { i = Neg (w) }, else_branch = e () => (float[2] j) { j = Neg (a) }>
    }"""
    view = view_of(model(text), tmp_path)
    merge_repeated(view)
    assert [n.op for n in view.nodes] == ["Exp", "If"]
    assert dict(view.outputs) == {"y": "y", "w": "a"}
    assert {n.inputs[0] for n in view.nodes[1].bodies["then_branch"].nodes} == {"a"}
    assert set(view.nodes[1].implicit) == {"a"}
